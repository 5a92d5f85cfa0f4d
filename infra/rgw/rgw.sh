#!/bin/bash
# Ceph RGW for tests and trials: one monitor, one OSD in memory and one gateway, on loopback, from Debian's packages.
#
#   rgw.sh install   unpacks the packages into RGW_ROOT (0.9 GB, a minute); installs nothing on the host but debootstrap
#   rgw.sh run       installs, starts, prints "listening on URL", and runs until it is ended; its data ends with it
#
# Wants root: for chroot, debootstrap and namespaces of its own. Several may run at once from one RGW_ROOT, on ports
# of their own. Environment:
#   RGW_ROOT           where the packages are (default: ~/.cache/partway/rgw)
#   RGW_PORT           S3 over HTTP (default: 20000)
#   RGW_MON_PORT       the monitor (default: 23300)
#   RGW_ACCESS_KEY_ID, RGW_SECRET_ACCESS_KEY   (default: rgw-access, rgw-secret)
#   RGW_MEMORY_BYTES   room for objects (default: 6 GiB)
#   RGW_DAY_SECONDS    how long a day of a lifecycle rule lasts (default: 10)
set -euo pipefail

root=${RGW_ROOT:-${XDG_CACHE_HOME:-$HOME/.cache}/partway/rgw}
port=${RGW_PORT:-20000}
mon_port=${RGW_MON_PORT:-23300}
fsid=7a1f3b1e-0000-4000-8000-000000000020

fail() {
  echo "rgw.sh: $1" >&2
  exit 69 # EX_UNAVAILABLE: this machine cannot run it
}

require_means() {
  [ "$(uname -s)" = Linux ] || fail 'needs Linux'
  [ "$(id -u)" = 0 ] || fail 'needs root, for chroot and namespaces'
  unshare --mount --pid --fork true 2>/dev/null || fail 'needs to make namespaces, which is refused here'
}

install() {
  require_means
  [ -x "$root/usr/bin/radosgw" ] && return
  mkdir -p "$(dirname "$root")"
  exec 9>"$root.lock"
  flock 9
  [ -x "$root/usr/bin/radosgw" ] || unpack
  exec 9>&-
}

unpack() {
  command -v apt-get >/dev/null || fail 'needs apt-get and debootstrap (Debian or Ubuntu)'
  command -v debootstrap >/dev/null || [ "${CI:-}" = true ] || fail 'needs debootstrap: apt-get install debootstrap'
  command -v debootstrap >/dev/null || {
    apt-get update -qq && apt-get install -y -qq --no-install-recommends debootstrap
  } >&2 || fail 'debootstrap is not installed and could not be'
  local mirror fresh=$root.new
  mirror=$(apt-get indextargets --format '$(SITE)' 'Created-By: Packages' 'Origin: Debian' | head -1)
  [ -n "$mirror" ] || fail "needs Debian: apt knows no mirror of it"
  echo "Ceph's packages are unpacked into $root, once: this takes a minute." >&2
  rm -rf "$fresh"
  # --foreign only downloads and unpacks: no package's script is run. debootstrap may not know the suite's
  # name yet; the script of sid serves any.
  debootstrap --foreign --variant=minbase --include=radosgw,ceph-mon,ceph-osd,ceph-common \
    forky "$fresh" "$mirror" sid >"$root.log" 2>&1 || fail "debootstrap failed: $root.log"
  for package in "$fresh"/var/cache/apt/archives/*.deb; do dpkg -x "$package" "$fresh"; done
  rm -rf "$fresh/var/cache/apt/archives"
  mkdir -p "$fresh/cluster"
  mv "$fresh" "$root"
}

configuration() {
  local classes
  classes=$(cd "$root" && echo usr/lib/*/rados-classes)
  cat <<CONF
[global]
fsid = $fsid
mon host = [v2:127.0.0.1:$mon_port]
mon initial members = a
public addr = 127.0.0.1
keyring = /cluster/keyring
osd pool default size = 1
osd pool default min size = 1
osd pool default pg num = 8
osd pool default pg autoscale mode = off
mon allow pool size one = true
mon max pg per osd = 2000
paxos propose interval = 0.02
paxos min wait = 0.01
osd crush chooseleaf type = 0
osd objectstore = memstore
memstore device bytes = ${RGW_MEMORY_BYTES:-6442450944}
osd class dir = /$classes
run dir = /cluster/run
log file = /cluster/log/\$name.log
admin socket =
mon data = /cluster/mon
osd data = /cluster/osd
rgw data = /cluster/rgw
[client.rgw.a]
rgw frontends = beast endpoint=127.0.0.1:$port
rgw lc debug interval = ${RGW_DAY_SECONDS:-10}
CONF
}

# Inside the chroot, as the first process of a process namespace: when it ends, the kernel ends the daemons.
boot() {
  cd /cluster
  export CEPH_CONF=/cluster/ceph.conf
  local osd_id
  osd_id=$(cat /proc/sys/kernel/random/uuid)
  monmaptool --create --fsid "$fsid" --addv a "[v2:127.0.0.1:$mon_port]" monmap >/dev/null
  # All keys are made before the monitor, which takes them over: it need not be asked for them one by one.
  ceph-authtool keyring --create-keyring --gen-key -n mon. --cap mon 'allow *' >/dev/null
  ceph-authtool keyring --gen-key -n client.admin --cap mon 'allow *' --cap osd 'allow *'
  ceph-authtool keyring --gen-key -n osd.0 --cap mon 'allow profile osd' --cap osd 'allow *'
  ceph-authtool keyring --gen-key -n client.rgw.a --cap mon 'allow *' --cap osd 'allow *'
  ceph-mon --mkfs -i a --monmap monmap --keyring keyring
  ceph-mon -f -i a &
  timeout 60 ceph --connect-timeout 30 osd new "$osd_id" 0 >/dev/null
  ceph-osd -i 0 --mkfs --osd-uuid "$osd_id" --no-mon-config
  ceph-osd -f -i 0 &
  timeout 60 radosgw-admin -n client.rgw.a user create --uid=partway --display-name=partway \
    --access-key="$RGW_ACCESS_KEY_ID" --secret-key="$RGW_SECRET_ACCESS_KEY" >/dev/null
  radosgw -f -n client.rgw.a &
  until (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; do
    [ "$(jobs -rp | wc -l)" = 3 ] || return 1
    sleep 0.1
  done
  echo "listening on http://127.0.0.1:$port"
  wait -n
}

enter() {
  mount -t tmpfs -o mode=755 cluster "$root/cluster"
  mount -t proc proc "$root/proc"
  mount --rbind /dev "$root/dev"
  mkdir -p "$root"/cluster/{mon,osd,rgw,run,log}
  configuration >"$root/cluster/ceph.conf"
  { declare -f boot; echo 'set -euo pipefail; boot'; } >"$root/cluster/boot.sh"
  exec chroot "$root" /bin/bash /cluster/boot.sh
}

run() {
  install
  export RGW_ROOT=$root RGW_PORT=$port RGW_MON_PORT=$mon_port port mon_port fsid
  export RGW_ACCESS_KEY_ID=${RGW_ACCESS_KEY_ID:-rgw-access} RGW_SECRET_ACCESS_KEY=${RGW_SECRET_ACCESS_KEY:-rgw-secret}
  # Whoever of this chain dies takes the rest along: setpriv ties unshare to us, --kill-child the daemons to unshare.
  setpriv --pdeathsig KILL unshare --mount --pid --fork --kill-child=KILL "$BASH" "$0" enter </dev/null &
  trap "kill -KILL $! 2>/dev/null || true" EXIT
  trap 'exit 0' TERM INT HUP
  wait $!
}

case ${1:-} in
install | run | enter) "$1" ;;
*)
  sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//p}' "$0" >&2
  exit 64
  ;;
esac
