"""The requests to an object store, one method each; ``objects.py`` uses them.

pyarrow reads and writes on S3, Google Cloud Storage and HDFS. It cannot ask S3 to write an object
only if it does not exist yet (``If-None-Match``). boto3 sends that request; the extra ``cluster``
installs it. Without boto3, and on other stores, this request is not available.
"""

import urllib.parse
from typing import Any

import pyarrow as pa
from pyarrow import fs


class Bucket:
    """An object store that pyarrow supports. Keys begin with the bucket; errors are OSErrors.

    Args:
        uri: URI of the results folder.
        filesystem: pyarrow's file system for that URI.
    """

    def __init__(self, uri: str, filesystem: fs.FileSystem) -> None:
        self._uri = uri
        self._fs = filesystem
        self._s3: Any = None
        self._folders: set[str] = set()  # folders created so far

    def get(self, key: str) -> bytes:
        with self._fs.open_input_stream(key) as stream:
            return stream.read()

    def get_part(self, key: str, offset: int, size: int) -> bytes:
        with self._fs.open_input_file(key) as file:
            return file.read_at(size, offset)

    def put(self, key: str, content: bytes | pa.Buffer) -> None:
        """Write the object in one request, so that it is complete or absent."""
        folder = key.rpartition("/")[0]
        if folder not in self._folders:
            self._fs.create_dir(folder, recursive=True)
            self._folders.add(folder)
        with self._fs.open_output_stream(key) as stream:
            stream.write(content)

    def put_if_absent(self, key: str, content: bytes | pa.Buffer) -> bool | None:
        """Write the object unless it exists; returns whether it did. None: not available."""
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
        """The object's modification time in seconds by the store's clock; None if it is absent."""
        info = self._fs.get_file_info(key)
        return None if info.type == fs.FileType.NotFound else info.mtime.timestamp()

    def names(self, folder: str) -> list[str]:
        """Names of the objects directly in a folder."""
        selector = fs.FileSelector(folder, allow_not_found=True)
        files = (f for f in self._fs.get_file_info(selector) if f.type == fs.FileType.File)
        return [f.base_name for f in files]


def _s3_client(uri: str) -> Any:
    """boto3's client for the URI, which has pyarrow's options; False if boto3 is not installed."""
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
