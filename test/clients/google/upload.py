"""Uploads a file as users of google-resumable-media do: chunk by chunk, with recover() after a failure."""

import json
import sys

import requests
from google.resumable_media import InvalidResponse
from google.resumable_media.requests import ResumableUpload

url, bucket, name, path, chunk_size, checksum, size = sys.argv[1:]

upload = ResumableUpload(
    f"{url}/upload/storage/v1/b/{bucket}/o?uploadType=resumable",
    int(chunk_size),
    checksum=None if checksum == "none" else checksum,
)
transport = requests.Session()
recoveries = 0

with open(path, "rb") as stream:
    upload.initiate(transport, stream, {"name": name}, "application/x-test", stream_final=size == "known")
    response = None
    while not upload.finished:
        try:
            response = upload.transmit_next_chunk(transport)
        except InvalidResponse as error:
            if not upload.invalid:
                raise
            print(f"recovering from {error.response.status_code}", file=sys.stderr)
            upload.recover(transport)
            recoveries += 1

print(json.dumps({"object": response.json(), "recoveries": recoveries, "sent": upload.bytes_uploaded}))
