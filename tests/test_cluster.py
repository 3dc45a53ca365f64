"""cluster.yaml and cluster/ against Ray's validation, Amazon's parameter model, and moto's AWS.

tests/test_on_three_hosts.py runs a study on a cluster.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import botocore.session
import moto
import pytest
import yaml
from botocore.validate import ParamValidator
from ray.autoscaler._private.aws.config import bootstrap_aws
from ray.autoscaler._private.aws.node_provider import AWSNodeProvider
from ray.autoscaler._private.util import prepare_config, validate_config

from aa_ray.commands.from_options import resources_from
from aa_ray.commands.options import study_parser
from aa_ray.core import architectures
from aa_ray.sweep.resources import Resources, Settled

TOP = Path(__file__).parent.parent
AWS = TOP / "cluster.yaml"
# Configurations for ray up.
LAUNCHED = [AWS, TOP / "cluster" / "on-premise.yaml", TOP / "cluster" / "gcp.yaml"]


def load(path: Path) -> dict[str, Any]:
    return yaml.safe_load(path.read_text())


def pins() -> dict[str, str]:
    """Return package -> version for the dependencies that pyproject.toml pins exactly."""
    pinned = re.findall(
        r'"([a-z0-9-]+)(?:\[.*?\])?==([\d.]+)"', (TOP / "pyproject.toml").read_text()
    )
    return dict(pinned)


@pytest.fixture(scope="module")
def aws(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Provide an AWS account in which aws-once.yaml has been deployed."""
    with pytest.MonkeyPatch.context() as patch, moto.mock_aws():
        patch.setenv("HOME", str(tmp_path_factory.mktemp("home")))  # Ray puts a key there
        patch.setenv("AWS_ACCESS_KEY_ID", "testing")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
        boto3.client("cloudformation", region_name="us-west-2").create_stack(
            StackName="aa-ray",
            TemplateBody=(TOP / "cluster" / "aws-once.yaml").read_text(),
            Parameters=[{"ParameterKey": "Bucket", "ParameterValue": "my-bucket"}],
            Capabilities=["CAPABILITY_NAMED_IAM"],
        )
        yield


@pytest.mark.parametrize("path", LAUNCHED, ids=lambda path: path.name)
def test_ray_accepts_it(path: Path) -> None:
    validate_config(prepare_config(load(path)))


@pytest.mark.parametrize("path", LAUNCHED, ids=lambda path: path.name)
def test_the_dashboard_is_on_loopback_and_ray_is_started_once(path: Path) -> None:
    config = load(path)
    head = [line for line in config["head_start_ray_commands"] if "ray start" in line]
    workers = [line for line in config["worker_start_ray_commands"] if "ray start" in line]
    assert len(head) == len(workers) == 1
    assert "--dashboard-host=127.0.0.1" in head[0] and "--autoscaling-config" in head[0]
    assert "--address=$RAY_HEAD_IP:6379" in workers[0] and "--port=6379" in head[0]


@pytest.mark.parametrize("name", ["cluster.yaml", *(p.name for p in (TOP / "cluster").iterdir())])
def test_versions_are_those_of_pyproject(name: str) -> None:
    path = TOP / name if name == "cluster.yaml" else TOP / "cluster" / name
    text = path.read_text() if path.is_file() else ""
    found = re.findall(r"rayproject/ray:([\d.]+)-py(\d)(\d+)", text)
    found_bare = re.findall(r"rayVersion: \"?([\d.]+)", text)
    pinned = pins()
    assert {version for version, *_ in found} | set(found_bare) <= {pinned["ray"]}
    assert {(major, minor) for _, major, minor in found} <= {("3", "11")}
    for package, version in re.findall(r"\b([a-z][a-z-]+)(?:\[[a-z,]+\])?==([\d.]+)", text):
        assert pinned[package] == version


def run_instances_problems(node_config: dict[str, Any]) -> str:
    """Return what Amazon's model of the call finds wrong with a node's configuration."""
    model = botocore.session.get_session().get_service_model("ec2")
    call = model.operation_model("RunInstances")
    counts = {"MinCount": 1, "MaxCount": 1}
    return ParamValidator().validate(node_config | counts, call.input_shape).generate_report()


def test_every_node_config_is_a_call_that_amazon_knows() -> None:
    for node_type in load(AWS)["available_node_types"].values():
        assert run_instances_problems(node_type["node_config"]) == ""


@pytest.mark.parametrize(
    "typo",
    [
        {"InstanceTyp": "g6.2xlarge"},
        {"InstanceMarketOptions": {"MarkedType": "spot"}},
        {"BlockDeviceMappings": {"DeviceName": "/dev/sda1"}},
        {"BlockDeviceMappings": [{"Ebs": {"VolumeSize": "200"}}]},
    ],
)
def test_a_typo_in_a_node_config_would_be_found(typo: dict[str, Any]) -> None:
    node_config = load(AWS)["available_node_types"]["gpu-spot"]["node_config"]
    assert run_instances_problems(node_config | typo) != ""


def test_a_head_without_trials_and_workers_from_zero() -> None:
    config = load(AWS)
    types = config["available_node_types"]
    head = types.pop(config["head_node_type"])
    assert head["resources"] == {"CPU": 0} and head["max_workers"] == 0
    for worker in types.values():
        assert worker["min_workers"] == 0 and worker["max_workers"] == config["max_workers"]
    markets = {
        name: worker["node_config"].get("InstanceMarketOptions") for name, worker in types.items()
    }
    assert markets == {"gpu-spot": {"MarketType": "spot"}, "gpu-on-demand": None}
    assert types["gpu-spot"]["priority"] > types["gpu-on-demand"]["priority"]
    assert config["provider"]["cache_stopped_nodes"] is False
    assert 0 < config["idle_timeout_minutes"] <= 15


@pytest.mark.usefixtures("aws")
def test_amazon_starts_and_ends_a_spot_worker() -> None:
    config = bootstrap_aws(prepare_config(load(AWS)))
    spot = config["available_node_types"]["gpu-spot"]["node_config"]
    zones = config["provider"]["availability_zone"].split(",")
    assert len(spot["SubnetIds"]) == len(set(spot["SubnetIds"])) == len(zones) == 4

    provider = AWSNodeProvider(config["provider"], config["cluster_name"])
    (node,) = provider.create_node(spot, {"ray-node-kind": "worker"}, 1)
    ec2 = boto3.client("ec2", region_name=config["provider"]["region"])
    (reservation,) = ec2.describe_instances(InstanceIds=[node])["Reservations"]
    (instance,) = reservation["Instances"]
    assert instance["InstanceLifecycle"] == "spot" and instance["InstanceType"] == "g6.2xlarge"
    assert instance["Placement"]["AvailabilityZone"] == zones[0]
    assert instance["IamInstanceProfile"]["Arn"].endswith("/aa-ray-worker")
    assert instance["MetadataOptions"]["HttpTokens"] == "required"

    provider.terminate_node(node)
    assert provider.non_terminated_nodes({}) == []
    (reservation,) = ec2.describe_instances(InstanceIds=[node])["Reservations"]
    assert reservation["Instances"][0]["State"]["Name"] == "terminated"  # not stopped


@pytest.mark.usefixtures("aws")
def test_ray_knows_what_the_workers_have() -> None:
    """Otherwise the autoscaler would not know that a GPU worker helps a waiting trial."""
    filled = AWSNodeProvider.fillout_available_node_types_resources(prepare_config(load(AWS)))
    resources = {name: kind["resources"] for name, kind in filled["available_node_types"].items()}
    assert resources["head"]["CPU"] == 0 and "GPU" not in resources["head"]
    for name in ("gpu-spot", "gpu-on-demand"):
        assert resources[name]["CPU"] == 8 and resources[name]["GPU"] == 1


@pytest.mark.usefixtures("aws")
def test_head_may_start_workers_and_workers_may_not() -> None:
    iam = boto3.client("iam")
    profiles = iam.list_instance_profiles()["InstanceProfiles"]
    types = load(AWS)["available_node_types"].values()
    used = {kind["node_config"]["IamInstanceProfile"]["Name"] for kind in types}
    assert {profile["InstanceProfileName"] for profile in profiles} == used

    assert iam.list_role_policies(RoleName="aa-ray-worker")["PolicyNames"] == []
    (inline,) = iam.list_role_policies(RoleName="aa-ray-head")["PolicyNames"]
    document = iam.get_role_policy(RoleName="aa-ray-head", PolicyName=inline)["PolicyDocument"]
    policy = yaml.safe_load(str(document))  # moto returns text here, AWS a mapping
    (passed,) = [s["Resource"] for s in policy["Statement"] if s["Action"] == "iam:PassRole"]
    assert passed == iam.get_role(RoleName="aa-ray-worker")["Role"]["Arn"]
    for role in ("aa-ray-head", "aa-ray-worker"):
        (attached,) = iam.list_attached_role_policies(RoleName=role)["AttachedPolicies"]
        version = iam.get_policy_version(PolicyArn=attached["PolicyArn"], VersionId="v1")
        resources = [s["Resource"] for s in version["PolicyVersion"]["Document"]["Statement"]]
        assert resources == ["arn:aws:s3:::my-bucket", "arn:aws:s3:::my-bucket/*"]
    assert [b["Name"] for b in boto3.client("s3").list_buckets()["Buckets"]] == ["my-bucket"]


def kuberay() -> dict[str, Any]:
    _, job = yaml.safe_load_all((TOP / "cluster" / "kuberay.yaml").read_text())
    return job


def test_the_rayjob_has_only_fields_that_kuberay_knows() -> None:
    """Kubernetes would silently drop unknown fields."""
    job = kuberay()
    assert (job["apiVersion"], job["kind"]) == ("ray.io/v1", "RayJob")
    assert job["spec"].keys() <= {
        "activeDeadlineSeconds", "backoffLimit", "clusterSelector", "deletionStrategy",
        "entrypoint", "entrypointNumCpus", "entrypointNumGpus", "entrypointResources", "jobId",
        "managedBy", "metadata", "rayClusterSpec", "runtimeEnvYAML", "shutdownAfterJobFinishes",
        "submissionMode", "submitterConfig", "submitterPodTemplate", "suspend",
        "ttlSecondsAfterFinished",
    }  # fmt: skip
    cluster = job["spec"]["rayClusterSpec"]
    assert cluster.keys() <= {
        "authOptions", "autoscalerOptions", "enableInTreeAutoscaling", "gcsFaultToleranceOptions",
        "headGroupSpec", "headServiceAnnotations", "managedBy", "rayVersion", "suspend",
        "upgradeStrategy", "workerGroupSpecs",
    }  # fmt: skip
    assert cluster["autoscalerOptions"].keys() <= {
        "env", "envFrom", "idleTimeoutSeconds", "image", "imagePullPolicy", "resources",
        "securityContext", "upscalingMode", "version", "volumeMounts",
    }  # fmt: skip
    assert cluster["headGroupSpec"].keys() <= {
        "enableIngress", "headService", "rayStartParams", "resources", "serviceType", "template",
    }  # fmt: skip
    (worker,) = cluster["workerGroupSpecs"]
    assert worker.keys() <= {
        "groupName", "idleTimeoutSeconds", "maxReplicas", "minReplicas", "numOfHosts",
        "rayStartParams", "replicas", "resources", "scaleStrategy", "suspend", "template",
    }  # fmt: skip
    for group in (cluster["headGroupSpec"], worker):
        assert all(isinstance(value, str) for value in group["rayStartParams"].values())
        (container,) = group["template"]["spec"]["containers"]
        mounted = {mount["name"] for mount in container["volumeMounts"]}
        assert mounted == {volume["name"] for volume in group["template"]["spec"]["volumes"]}


def test_on_kubernetes_all_that_the_workers_can_run_is_asked_for() -> None:
    spec = kuberay()["spec"]
    cluster = spec["rayClusterSpec"]
    assert cluster["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"
    (worker,) = cluster["workerGroupSpecs"]
    (container,) = worker["template"]["spec"]["containers"]
    limits = container["resources"]["limits"]
    chosen = resources_of(spec["entrypoint"])
    fits = Settled(gpus_per_trial=chosen.gpus_per_trial or 0.0).slots(
        {"CPU": int(limits["cpu"]), "GPU": limits["nvidia.com/gpu"]}
    )
    assert worker["minReplicas"] == 0
    assert chosen.max_concurrent == fits * worker["maxReplicas"]


def resources_of(text: str) -> Resources:
    """Return the resources that a command line of studies/table2.py within a text asks for.

    The command line must be valid.
    """
    words = re.split(r"table2\.py", text)[-1].replace('"', " ").replace("\\\n", " ").split()
    options = study_parser("", architectures.TABLE2).parse_args(words)
    return resources_from(options)


def test_the_commands_of_the_walk_through_are_valid() -> None:
    page = (TOP / "docs" / "cluster.md").read_text().replace("\\\n", " ")
    commands = [
        line.partition("#")[0].rstrip().rstrip("'")
        for block in re.findall(r"^```\w*\n(.*?)^```$", page, flags=re.DOTALL | re.MULTILINE)
        for line in block.splitlines()
        if "table2.py" in line
    ]
    assert len(commands) >= 6
    for command in commands:
        resources_of(command)
