"""A cluster of hosts made of Linux namespaces on this machine, reachable over ssh.

Each host has its own processes, network, host name, /dev/shm and file system. The file system is
an overlay over this machine's, so a host sees what is installed here, and its writes vanish with
it. All hosts share one folder, /shared, as if it were on NFS. Their network, 10.77.0.0/24, is a
namespace too, without access to the outside. The first host, "laptop", is for the user.

Requires root, Linux with overlayfs, and the Debian packages openssh-server, rsync and iproute2.

    python -m tests.namespaces                                # a shell on the laptop
    python -m tests.namespaces -- ssh 10.77.0.2 hostname      # or one command
"""

import argparse
import contextlib
import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import TracebackType

NETWORK = "10.77.0"
LAPTOP, HEAD, WORKERS = "laptop", "head", ("worker-1", "worker-2")
ADDRESSES = {n: f"{NETWORK}.{i}" for i, n in enumerate((LAPTOP, HEAD, *WORKERS), start=1)}
TOOLS = {"sshd": "openssh-server", "rsync": "rsync", "ip": "iproute2", "unshare": "util-linux"}

# The first process of a host builds its file system, then becomes its sshd.
INIT = """
set -e
mount -t tmpfs tmpfs "$folder"
mkdir "$folder/upper" "$folder/work" "$folder/root"
mount -t overlay overlay -o "lowerdir=/,upperdir=$folder/upper,workdir=$folder/work" "$folder/root"
cd "$folder/root"
mount -t proc proc proc
mount --rbind /sys sys
mount --rbind /dev dev
mount -t tmpfs tmpfs dev/shm
mkdir -p shared tmp/ray run/sshd root/.ssh
mount --bind "$shared" shared
mount -t tmpfs tmpfs tmp/ray
mount -t tmpfs -o mode=0700 tmpfs root/.ssh
rm -rf root/.ray root/aa-ray
printf '%s\\n' "$names" > etc/hosts
cp "$keys"/* root/.ssh/
printf '%s\\n' "$profile" | tee root/.bash_profile > root/.bashrc
hostname "$name"
ip link set lo up
exec chroot . /usr/sbin/sshd -D -h /root/.ssh/id_ed25519 -o StrictModes=no -o UsePAM=no \\
    -o PidFile=none -o MaxStartups=100 -o PermitRootLogin=yes -f /dev/null
"""

# Login environment of a host: this Python's commands come first, and pip needs no network.
PROFILE = f"""
export PATH={shlex.quote(str(Path(sys.executable).parent))}:/usr/sbin:/usr/bin:/sbin:/bin
export PIP_NO_INDEX=1 PIP_NO_BUILD_ISOLATION=0 PIP_ROOT_USER_ACTION=ignore
export HF_HUB_OFFLINE=1 OMP_NUM_THREADS=1 RAY_USAGE_STATS_ENABLED=0 RAY_worker_niceness=0
"""


def missing() -> str:
    """Return why hosts cannot be created here, or an empty string if they can."""
    if os.geteuid() != 0:
        return "not root"
    packages = [package for tool, package in TOOLS.items() if shutil.which(tool) is None]
    if packages:
        return f"missing Debian packages: {' '.join(packages)}"
    tried = subprocess.run(["unshare", "--mount", "--net", "--pid", "--fork", "true"], check=False)
    return "the kernel makes no namespaces here" if tried.returncode else ""


class Host:
    """One host; ``address`` is its IP in the hosts' network."""

    def __init__(self, name: str, address: str, folder: Path, shared: Path, keys: Path) -> None:
        self.name, self.address = name, address
        folder.mkdir()
        names = "\n".join(["127.0.0.1 localhost", *(f"{a} {n}" for n, a in ADDRESSES.items())])
        variables = {
            "folder": str(folder),
            "shared": str(shared),
            "keys": str(keys),
            "name": name,
            "names": names,
            "profile": PROFILE.strip(),
            "PATH": os.environ["PATH"],
        }
        self._log = folder.with_suffix(".log")
        # The host's processes end with unshare, and unshare ends with the host.
        with self._log.open("w") as log:
            self._unshare = subprocess.Popen(
                ["unshare", "--mount", "--net", "--pid", "--uts", "--ipc", "--fork",
                 "--kill-child", "sh", "-c", INIT],
                env=variables, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            )  # fmt: skip
        self.pid = self._first_process()

    def _first_process(self) -> int:
        """Wait until the host's process 1 is the sshd; return its process id on this machine."""
        children = Path(f"/proc/{self._unshare.pid}/task/{self._unshare.pid}/children")
        for _ in range(200):
            if self._unshare.poll() is not None:
                raise RuntimeError(f"host {self.name} did not start: {self._log.read_text()}")
            for pid in children.read_text().split():
                if Path(f"/proc/{pid}/comm").read_text().strip() == "sshd":
                    return int(pid)
            time.sleep(0.05)
        raise RuntimeError(f"host {self.name} has no sshd after ten seconds")

    def command(self, *command: str, directory: str = "/") -> list[str]:
        """Return the arguments that run a command on the host, as after a login."""
        script = f"cd {shlex.quote(directory)}; . ~/.bash_profile; exec {shlex.join(command)}"
        enter = ["nsenter", f"--target={self.pid}", "--mount", "--net", "--pid", "--uts", "--ipc",
                 "--root", "--wd"]  # fmt: skip
        clean = ["env", "-i", "HOME=/root", "USER=root", "LANG=C.UTF-8",
                 f"TERM={os.environ.get('TERM', 'dumb')}"]  # fmt: skip
        return [*enter, *clean, "bash", "-c", script]

    def processes(self) -> list[str]:
        """Return the commands running on the host, except sshd and this ps."""
        listed = subprocess.run(
            self.command("ps", "-eo", "pid=,args="), check=True, capture_output=True, text=True
        )
        lines = [line.split(maxsplit=1)[1] for line in listed.stdout.splitlines()]
        return [line for line in lines if "sshd" not in line and not line.startswith("ps -eo")]

    def ended(self) -> bool:
        """Return whether the host has been killed."""
        return self._unshare.poll() is not None

    def kill(self) -> None:
        """Kill the host, as if its power had been cut."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)
        self._unshare.wait()


class Hosts:
    """The laptop, a head and two workers, as a context manager that removes them on exit.

    Attributes:
        hosts: name -> host.
        shared: the folder on this machine that is /shared on every host.
    """

    def __init__(self) -> None:
        if why := missing():
            raise RuntimeError(f"hosts cannot be made: {why}")
        self.hosts: dict[str, Host] = {}

    def __enter__(self) -> "Hosts":
        self._exit = contextlib.ExitStack()
        with contextlib.ExitStack() as stack:
            temporary = tempfile.TemporaryDirectory(prefix="aa-ray-hosts-")
            self._folder = Path(stack.enter_context(temporary))
            self.shared = self._folder / "shared"
            self.shared.mkdir()
            self._keys = _keys(self._folder / "keys")
            self._switch = stack.enter_context(_switch())
            stack.callback(self._kill_all)
            for name in ADDRESSES:
                self.start(name)
            self._exit = stack.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._exit.close()

    def __getitem__(self, name: str) -> Host:
        return self.hosts[name]

    def start(self, name: str) -> None:
        """Start the host, for the first time or, with a new file system, after it was killed."""
        folder = self._folder / name
        if folder.exists():
            folder.rmdir()  # the old file system was in memory
        self.hosts[name] = Host(name, ADDRESSES[name], folder, self.shared, self._keys)
        _plug_in(self._switch, self.hosts[name])

    def _kill_all(self) -> None:
        for host in self.hosts.values():
            host.kill()

    def set_link(self, name: str, up: bool) -> None:
        """Pull the host's network cable, or put it back."""
        _ip(self._switch, f"link set to-{name} {'up' if up else 'down'}")


def _keys(folder: Path) -> Path:
    """Create a folder with one key, which every host both holds and accepts."""
    folder.mkdir()
    key = folder / "id_ed25519"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
    (folder / "authorized_keys").write_text(key.with_suffix(".pub").read_text())
    quiet = "StrictHostKeyChecking no\nUserKnownHostsFile /dev/null\nLogLevel ERROR\n"
    (folder / "config").write_text(f"Host {NETWORK}.*\n{quiet}")
    (folder / "config").chmod(0o600)
    return folder


@contextlib.contextmanager
def _switch():  # type: ignore[no-untyped-def]
    """Yield the process id of a network namespace with a bridge that connects the hosts."""
    script = (
        "ip link add bridge0 type bridge && ip link set bridge0 up && echo up && sleep infinity"
    )
    process = subprocess.Popen(
        ["unshare", "--net", "--kill-child", "sh", "-c", script],
        stdout=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    assert process.stdout is not None
    try:
        if process.stdout.readline() != "up\n":
            raise RuntimeError("the kernel makes no bridge")
        yield process.pid
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        process.stdout.close()


def _plug_in(switch: int, host: Host) -> None:
    """Connect the host to the switch."""
    port = f"to-{host.name}"
    # If the host has just lost power, the kernel may still be removing its old cable.
    subprocess.run([*_inside(switch), "ip", "link", "del", port], stderr=subprocess.DEVNULL)
    for where, command in (
        (switch, f"link add {port} type veth peer name eth0 netns {host.pid}"),
        (switch, f"link set {port} master bridge0 up"),
        (host.pid, f"addr add {host.address}/24 dev eth0"),
        (host.pid, "link set eth0 up"),
        # The route leads nowhere; Ray finds its address by asking where packets would leave.
        (host.pid, f"route add default via {ADDRESSES[LAPTOP]}"),
    ):
        _ip(where, command)


def _ip(pid: int, command: str) -> None:
    """Run ``ip`` in the network namespace of a process."""
    subprocess.run([*_inside(pid), "ip", *command.split()], check=True)


def _inside(pid: int) -> list[str]:
    return ["nsenter", "--net", "--target", str(pid)]


def main() -> int:
    """Run a command on the laptop and return its exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("command", nargs="*", help="to run on the laptop (default: a shell)")
    options = parser.parse_args()
    try:
        with Hosts() as hosts:
            for name, address in ADDRESSES.items():
                print(f"{address} {name}", file=sys.stderr)
            command = options.command or ["bash", "--norc", "-i"]
            return subprocess.run(hosts[LAPTOP].command(*command, directory=os.getcwd())).returncode
    except RuntimeError as error:
        print(f"namespaces: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
