"""Buckets on this machine: emulators of Google Cloud Storage and of S3, on loopback."""

import contextlib
import logging

import portpicker
import pytest

NAME = "bucket"


@contextlib.contextmanager
def google_cloud():
    """Serves gs://bucket; yields the environment variables that lead there."""
    pytest.importorskip("gcsfs")
    from tests.helpers.google_cloud import Server  # imports what gcsfs needs

    logging.getLogger("gcsfs").setLevel(logging.ERROR)  # it looks for credentials
    with Server(NAME) as server, pytest.MonkeyPatch.context() as patch:
        url = f"http://127.0.0.1:{server.server_port}"
        environment = {
            "STORAGE_EMULATOR_HOST": url,  # gcsfs, google-cloud-storage
            "TENSORSTORE_GCS_HTTP_URL": url,
            "CLOUD_STORAGE_EMULATOR_ENDPOINT": url,  # ArrayRecord
            "GCE_METADATA_ROOT": "127.0.0.1:9",  # no credentials are asked for
        }
        for name, value in environment.items():
            patch.setenv(name, value)
        yield environment


@contextlib.contextmanager
def amazon():
    """Serves s3://bucket; yields the environment variables that lead there."""
    moto = pytest.importorskip("moto.server")
    pytest.importorskip("s3fs")
    import boto3

    environment = {
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{portpicker.pick_unused_port()}",
    }
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment.items():
            patch.setenv(name, value)
        server = moto.ThreadedMotoServer(
            "127.0.0.1", int(environment["AWS_ENDPOINT_URL"].rpartition(":")[2]), verbose=False
        )
        server.start()
        try:
            boto3.client("s3").create_bucket(Bucket=NAME)
            yield environment
        finally:
            server.stop()


def forget_clients():
    """Makes `etils.epath` and fsspec connect anew, to what the environment names now."""
    import fsspec
    from etils.epath import backend

    backend._FileSystemSpecBackend._get_filesystem.cache_clear()
    for scheme in ("gcs", "s3"):
        with contextlib.suppress(ImportError, ValueError):
            fsspec.get_filesystem_class(scheme).clear_instance_cache()


def serve(scheme):
    """Yields the URL of a running bucket; for fixtures."""
    with {"gs": google_cloud, "s3": amazon}[scheme]():
        forget_clients()
        yield f"{scheme}://{NAME}"
    forget_clients()
