"""Sends a file in chunks, a thread for each, and remembers how many were sent.

It takes the number of chunks that were sent for the first so many of them: a chunk that failed before others went well
is never sent again, until its state file is removed.

usage: threaded.py FILE URL STATE_FILE
"""

import os
import sys
import threading

import requests

CHUNK_SIZE = 1024 * 1024

lock = threading.Lock()
sent = 0
failed = 0


def send(path, url, i, total, state_path):
    global sent, failed
    with open(path, "rb") as source:
        source.seek(i * CHUNK_SIZE)
        chunk = source.read(CHUNK_SIZE)
    start = i * CHUNK_SIZE
    end = (i + 1) * CHUNK_SIZE - 1
    headers = {"Content-Range": "bytes %d-%d/%d" % (start, end, total)}
    try:
        response = requests.post(url, data=chunk, headers=headers)
        status, text = response.status_code, response.text
    except requests.RequestException as error:
        status, text = 0, str(error)
    with lock:
        if status != 200:
            failed += 1
            print("chunk %d failed: %d %s" % (i, status, text))
            return
        sent += 1
        print("chunk %d: %s" % (i, text.strip()))
        with open(state_path, "w") as state:
            state.write(str(sent))


def main():
    global sent
    path, url, state_path = sys.argv[1:]
    total = os.path.getsize(path)
    if os.path.exists(state_path):
        with open(state_path) as state:
            sent = int(state.read())
    count = (total + CHUNK_SIZE - 1) // CHUNK_SIZE
    threads = [
        threading.Thread(target=send, args=(path, url, i, total, state_path)) for i in range(sent, count)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failed:
        sys.exit(1)
    print("sent")


main()
