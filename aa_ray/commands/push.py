"""Uploads a trained adapter's folder to the Hugging Face hub."""

from pathlib import Path

from aa_ray.errors import SweepError, UsageError


def push(folder: Path, repository: str) -> str:
    """Upload the folder to the hub with the user's token; returns the repository's address.

    Raises:
        UsageError: there is no token, the name is invalid, or access is denied.
        SweepError: the hub cannot be reached.
    """
    import huggingface_hub
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    api = huggingface_hub.HfApi()
    if not api.token and not huggingface_hub.get_token():
        raise UsageError("--push: no token for the hub; run hf auth login, or set HF_TOKEN")
    try:
        made = api.create_repo(repository, exist_ok=True)
        api.upload_folder(
            repo_id=made.repo_id, folder_path=folder, commit_message="Adapter trained with aa-ray"
        )
    except HFValidationError as error:
        raise UsageError(f"--push {repository}: {error}") from error
    except HfHubHTTPError as error:
        message = error.server_message or str(error).splitlines()[0]
        raise UsageError(f"--push {repository}: the hub refused ({message})") from error
    except Exception as error:  # network, proxy and offline failures have no common base class
        raise SweepError(
            f"--push {repository}: the hub cannot be reached ({str(error).splitlines()[0]}); "
            f"{folder} is complete; run the same command to try again"
        ) from error
    return str(made)
