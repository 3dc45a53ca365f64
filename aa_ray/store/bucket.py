"""The requests to an object store, each a method; ``objects.py`` says what is done with them.

pyarrow reads and writes on S3, Google Cloud Storage and HDFS. It cannot ask S3 to write an object
only where there is none (``If-None-Match``), so that request is boto3's, which the extra
``cluster`` installs. On other stores, and without boto3, there is no such request.
"""

import urllib.parse
from typing import Any

import pyarrow as pa
from pyarrow import fs


class Bucket:
    """An object store that pyarrow knows. Keys begin with the bucket; errors are OSErrors.

    Args:
        uri: of the results folder.
        filesystem: pyarrow's, for that URI.
    """

    def __init__(self, uri: str, filesystem: fs.FileSystem) -> None:
        self._uri = uri
        self._fs = filesystem
        self._s3: Any = None
        self._folders: set[str] = set()  # that have been made

    def get(self, key: str) -> bytes:
        with self._fs.open_input_stream(key) as stream:
            return stream.read()

    def get_part(self, key: str, offset: int, size: int) -> bytes:
        with self._fs.open_input_file(key) as file:
            return file.read_at(size, offset)

    def put(self, key: str, content: bytes | pa.Buffer) -> None:
        """One request, so that the object is whole or absent."""
        folder = key.rpartition("/")[0]
        if folder not in self._folders:
            self._fs.create_dir(folder, recursive=True)
            self._folders.add(folder)
        with self._fs.open_output_stream(key) as stream:
            stream.write(content)

    def put_if_absent(self, key: str, content: bytes | pa.Buffer) -> bool | None:
        """Write the object unless there is one; whether this did. None: cannot be asked for."""
        if self._s3 is None:
            self._s3 = _s3_client(self._uri) if self._uri.startswith("s3://") else False
        if not self._s3:
            return None
        from botocore.exceptions import BotoCoreError, ClientError

        bucket, _, name = key.partition("/")
        body = content if isinstance(content, bytes) else content.to_pybytes()
        try:
            self._s3.put_object(Bucket=bucket, Key=name, Body=body, IfNoneMatch="*")
        except ClientError as error:
            if error.response["Error"]["Code"] in ("PreconditionFailed", "412"):
                return False
            if error.response["Error"]["Code"] in ("NotImplemented", "501"):
                return None
            raise OSError(str(error)) from error
        except BotoCoreError as error:
            raise OSError(str(error)) from error
        return True

    def delete(self, key: str) -> None:
        self._fs.delete_file(key)

    def copy(self, key: str, to: str) -> None:
        self._fs.copy_file(key, to)

    def modified(self, key: str) -> float | None:
        """When the object was written, in seconds by the store's clock; None without."""
        info = self._fs.get_file_info(key)
        return None if info.type == fs.FileType.NotFound else info.mtime.timestamp()

    def names(self, folder: str) -> list[str]:
        """Names of the objects directly in a folder."""
        selector = fs.FileSelector(folder, allow_not_found=True)
        files = (f for f in self._fs.get_file_info(selector) if f.type == fs.FileType.File)
        return [f.base_name for f in files]


def _s3_client(uri: str) -> Any:
    """boto3's client for the store at the URI, whose options are pyarrow's; False without boto3."""
    try:
        import boto3
    except ImportError:
        return False
    parts = urllib.parse.urlsplit(uri)
    options = dict(urllib.parse.parse_qsl(parts.query))
    settings: dict[str, Any] = {"region_name": options.get("region")}
    if "endpoint_override" in options:
        scheme = options.get("scheme", "https")
        settings["endpoint_url"] = f"{scheme}://{options['endpoint_override']}"
    if parts.username and parts.password:
        settings["aws_access_key_id"] = urllib.parse.unquote(parts.username)
        settings["aws_secret_access_key"] = urllib.parse.unquote(parts.password)
    return boto3.client("s3", **settings)
