#!/bin/bash
# Makes today's backups in a spool, then pushes all that is there to a Partway gateway. Run again, it makes nothing
# twice a day, and goes on with what was cut off. Its settings are environment variables (backup.conf):
#
#   PARTWAY_URL        the gateway
#   BACKUP_DIRECTORY   a directory: becomes NAME-DATE.tar.gz
#   BACKUP_DATABASE    a database, as pg_dump takes it: becomes NAME-DATE.dump, for pg_restore
#   BACKUP_PREFIX      what the objects' keys begin with (default: backups/HOST)
#   BACKUP_STATE       holds spool and memory (default: /var/lib/partway-backup)
#   PARTWAY_PUSH       the client (default: partway-push.py beside this script)
#
# Ends with the client's exit code; with 1 where a backup could not be made.
set -uo pipefail
umask 077

: "${PARTWAY_URL:?is not set: the URL of the gateway}"
if [ -z "${BACKUP_DIRECTORY:-}${BACKUP_DATABASE:-}" ]; then
  echo "partway-backup: neither BACKUP_DIRECTORY nor BACKUP_DATABASE is set: there is nothing to back up" >&2
  exit 1
fi
state=${BACKUP_STATE:-/var/lib/partway-backup}
prefix=${BACKUP_PREFIX:-backups/${HOSTNAME%%.*}}
client=${PARTWAY_PUSH:-$(dirname "$0")/partway-push.py}
# CentOS 8 always has the one, CentOS 7 and Stream 9 have the other.
python=$(command -v python3 || echo /usr/libexec/platform-python)
today=$(date +%F)
spool=$state/spool
pushed=$state/pushed
export XDG_STATE_HOME=$state
# systemd 247 and newer hand the key over (LoadCredential); before that it is read where it is.
key_file=${CREDENTIALS_DIRECTORY:-/etc/partway}/api-key
if [ -z "${PARTWAY_API_KEY_FILE:-}" ] && [ -e "$key_file" ]; then export PARTWAY_API_KEY_FILE=$key_file; fi

# make NAME COMMAND…: the command's output becomes a file of the spool, whole or not at all.
make() {
  local name=$1
  shift
  [ -e "$spool/$name" ] || [ -e "$pushed/$name" ] && return
  if "$@" >"$spool/.new" && sync "$spool/.new"; then mv "$spool/.new" "$spool/$name"; return; fi
  rm "$spool/.new"
  return 1
}

archive() {
  tar -C "$(dirname "$1")" -czf - "$(basename "$1")"
  # 1: some file changed while it was read, as files of a live system do.
  [ $? -le 1 ]
}

name_of_database() {
  local name=${1##*/}
  echo "${name%%\?*}"
}

push() {
  "$python" "$client" "$@" "$PARTWAY_URL" "$prefix/$(basename "$1")"
}

# What the gateway has forgotten (4), or holds damaged (7), is pushed anew: the spool has the whole file. A file that is
# refused for good keeps no other one back; a gateway that can't be reached (5), no right to it (6) and a signal do.
push_spooled() {
  local file code first=0
  for file in "$spool"/*; do
    [ -f "$file" ] || continue
    push "$file"
    code=$?
    if [ $code = 4 ] || [ $code = 7 ]; then
      push "$file" --restart
      code=$?
    fi
    if [ $code != 0 ]; then
      [ $first != 0 ] || first=$code
      if [ $code = 5 ] || [ $code = 6 ] || [ $code -ge 128 ]; then return $first; fi
      continue
    fi
    touch "$pushed/$(basename "$file")"
    rm "$file"
  done
  return $first
}

mkdir -p "$spool" "$pushed"
find "$pushed" -type f -mtime +7 -delete
made=0
if [ -n "${BACKUP_DIRECTORY:-}" ]; then
  make "$(basename "$BACKUP_DIRECTORY")-$today.tar.gz" archive "$BACKUP_DIRECTORY" || made=1
fi
if [ -n "${BACKUP_DATABASE:-}" ]; then
  make "$(name_of_database "$BACKUP_DATABASE")-$today.dump" pg_dump -Fc "$BACKUP_DATABASE" || made=1
fi
push_spooled || exit
exit $made
