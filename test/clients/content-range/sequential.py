"""Sends a file in chunks, one after the other, and remembers how many it has sent.

usage: sequential.py FILE URL STATE_FILE
"""

import os
import sys

import requests

CHUNK_SIZE = 1024 * 1024


def main():
    path, url, state_path = sys.argv[1:]
    total = os.path.getsize(path)
    done = 0
    if os.path.exists(state_path):
        with open(state_path) as state:
            done = int(state.read())
    with open(path, "rb") as source:
        i = done
        while i * CHUNK_SIZE < total:
            source.seek(i * CHUNK_SIZE)
            chunk = source.read(CHUNK_SIZE)
            start = i * CHUNK_SIZE
            end = (i + 1) * CHUNK_SIZE - 1
            headers = {"Content-Range": "bytes %d-%d/%d" % (start, end, total)}
            response = requests.post(url, data=chunk, headers=headers)
            if response.status_code != 200:
                print("chunk %d failed: %d %s" % (i, response.status_code, response.text))
                sys.exit(1)
            i += 1
            with open(state_path, "w") as state:
                state.write(str(i))
    print("sent")


main()
