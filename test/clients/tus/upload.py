"""Uploads a file by tuspy: upload.py ENDPOINT FILE CHUNK_BYTES CHECKSUM [URL]. Prints the upload's URL."""

import sys

from tusclient import client

endpoint, path, chunk_bytes, checksum = sys.argv[1:5]
url = sys.argv[5] if len(sys.argv) > 5 else None
uploader = client.TusClient(endpoint).uploader(
    path,
    url=url,
    chunk_size=int(chunk_bytes),
    metadata={"filename": "film.mp4"},
    upload_checksum=checksum == "checksum",
    retries=5,
    retry_delay=0,
)
print(uploader.url or "", flush=True)
uploader.upload()
print(uploader.url)
