#!/bin/bash
# tus by curl alone, an extension after the other: curl.sh ENDPOINT FILE. Fails at the first thing that is not as it should be.
set -euo pipefail
endpoint=$1 file=$2
origin=$(sed -E 's#(https?://[^/]*).*#\1#' <<< "$endpoint")
size=$(stat -c %s "$file")
half=$((size / 2))
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
head -c "$half" "$file" > "$work/first"
tail -c +$((half + 1)) "$file" > "$work/second"
chunk='Content-Type: application/offset+octet-stream'

tus() { curl -sS -D "$work/head" -o "$work/body" -H 'Tus-Resumable: 1.0.0' "$@"; }
header() { tr -d '\r' < "$work/head" | sed -n "s/^$1: //Ip" | tail -n 1; }
status() { tr -d '\r' < "$work/head" | sed -n 's#^HTTP/1.1 \([0-9]*\).*#\1#p' | tail -n 1; }
expect() { [ "$2" = "$3" ] || { echo "$1: $2, not $3" >&2; cat "$work/head" "$work/body" >&2; exit 1; }; }
create() { tus -X POST "$@" "$endpoint"; expect creation "$(status)" 201; url=$origin$(header Location); }
patch() { tus -X PATCH -H "$chunk" -H "Upload-Offset: $1" --data-binary "@$2" "${@:3}" "$url"; }
offset() { tus -I "$url"; expect HEAD "$(status)" 200; header Upload-Offset; }

curl -sS -D "$work/head" -o /dev/null -X OPTIONS "$endpoint"
expect extensions "$(header Tus-Extension | tr ',' '\n' | grep -c .)" 9

# creation, and the core protocol
create -H "Upload-Length: $size" -H "Upload-Metadata: filename $(printf x.bin | base64)"
[ -n "$(header Upload-Expires)" ]
patch 0 "$work/first"; expect PATCH "$(status)" 204
expect offset "$(offset)" "$half"
patch 0 "$work/first"; expect 'another offset' "$(status)" 409
patch "$half" "$work/second"; expect PATCH "$(status)" 204
curl -sS "$url" | cmp - "$file"

# termination
tus -X DELETE "$url"; expect DELETE "$(status)" 204
tus -I "$url"; expect 'after DELETE' "$(status)" 410

# creation-with-upload, creation-defer-length
create -H 'Upload-Defer-Length: 1' -H "$chunk" --data-binary "@$work/first"
expect 'first bytes' "$(header Upload-Offset)" "$half"
patch "$half" "$work/second" -H "Upload-Length: $size"; expect 'PATCH with length' "$(status)" 204
curl -sS "$url" | cmp - "$file"

# checksum
create -H "Upload-Length: $half"
patch 0 "$work/first" -H "Upload-Checksum: sha1 $(openssl dgst -sha1 -binary "$work/second" | base64)"
expect 'wrong checksum' "$(status)" 460
patch 0 "$work/first" -H "Upload-Checksum: sha1 $(openssl dgst -sha1 -binary "$work/first" | base64)"
expect 'right checksum' "$(status)" 204

# concatenation
create -H 'Upload-Concat: partial' -H "Upload-Length: $half" -H "$chunk" --data-binary "@$work/first"
first=$url
create -H 'Upload-Concat: partial' -H "Upload-Length: $((size - half))" -H "$chunk" --data-binary "@$work/second"
create -H "Upload-Concat: final;$first $url"
expect concatenation "$(offset)" "$size"
curl -sS "$url" | cmp - "$file"

# a method in a header
tus -X POST -H 'X-HTTP-Method-Override: DELETE' "$url"; expect override "$(status)" 204
