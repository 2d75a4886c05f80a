"""Programs that bring much along, and so are not in the short form: TensorBoard and moto's server."""
import json

from row import Row, free_port, together


def tensorboard(folder):
    (folder / "runs").mkdir()
    return ["-m", "tensorboard.main", "--logdir", str(folder / "runs"), "--host", "127.0.0.1", "--port", "0",
            "--load_fast", "false"]


def check_tensorboard(place):
    place.until(lambda: place.ask("/").status == 200, "the first page")
    assert b"<title>TensorBoard</title>" in place.page("/")
    assert place.ask("/index.js").headers["Content-Type"].startswith(("application/javascript", "text/javascript"))
    assert isinstance(json.loads(place.page("/data/plugins_listing")), dict)
    assert json.loads(place.page("/data/runs")) == []
    assert place.page("/nothing", 404)
    pages = together([lambda: place.page("/index.js")] * 6)[0]
    assert len(set(pages)) == 1 and len(pages[0]) > 100_000


def check_moto(place):
    import boto3
    s3 = boto3.client("s3", endpoint_url=place.url, region_name="us-east-1", aws_access_key_id="a",
                      aws_secret_access_key="b")
    s3.create_bucket(Bucket="one")
    data = bytes(range(256)) * 4000
    s3.put_object(Bucket="one", Key="large/\xe9", Body=data)
    assert s3.get_object(Bucket="one", Key="large/\xe9")["Body"].read() == data
    part = s3.get_object(Bucket="one", Key="large/\xe9", Range="bytes=10-19")["Body"].read()
    assert part == data[10:20]
    assert [found["Key"] for found in s3.list_objects_v2(Bucket="one")["Contents"]] == ["large/\xe9"]
    assert s3.head_object(Bucket="one", Key="large/\xe9")["ContentLength"] == len(data)
    together([lambda n=n: s3.put_object(Bucket="one", Key=f"small{n}", Body=b"x" * n) for n in range(8)])
    assert s3.list_objects_v2(Bucket="one")["KeyCount"] == 9
    s3.delete_object(Bucket="one", Key="large/\xe9")


ROWS = [
    Row("TensorBoard", "large", tensorboard, check_tensorboard, "blocking", "/data/runs"),
    Row("moto_server (AWS S3)", "large", lambda folder: ["-m", "moto.server", "-H", "127.0.0.1", "-p", free_port()],
        check_moto, "blocking", "/moto-api/data.json"),
]
