#!/bin/sh
# What somebody would do by hand to deploy a commit of examples/hello, and no more:
# fetch it, build it, start it beside the old one, wait until it is ready, send requests there.
#
#   hand.sh CLONE REPOSITORY FOLDER PORT ADMIN systemd|process
#
# CLONE: a clone that is kept. FOLDER: keeps the results from the garbage. PORT: the new one's.
# ADMIN: the admin API of a Caddy whose table has the @id "hand". $WITHIN: words that take a command
# to where systemd is.
set -eu
clone=$1 repository=$2 folder=$3 port=$4 admin=$5 supervisor=$6

git -C "$clone" fetch --quiet --no-tags "$repository" +refs/heads/main:refs/heads/live
commit=$(git -C "$clone" rev-parse refs/heads/live)
source="git+file://$clone?ref=refs/heads/live&rev=$commit"
mkdir "$folder/$commit"
nix build --out-link "$folder/$commit/result" "$source#hello" "$source#docs"
for result in "$folder/$commit"/result*; do # Nix has an order of its own
  path=$(readlink -f "$result")
  if [ -x "$path/bin/hello" ]; then program=$path/bin/hello; else files=$path; fi
done

case $supervisor in
systemd) # the user, the limits and the sandbox that Kennel gives
  ${WITHIN:-} systemd-run --quiet --collect --unit="hand-$port" --service-type=exec --slice=hand.slice \
    --setenv=HOST=127.0.0.1 --setenv=PORT="$port" --setenv=HOME=/tmp \
    --property=DynamicUser=yes --property=NoNewPrivileges=yes --property=PrivateTmp=yes \
    --property=WorkingDirectory=/tmp --property=Restart=on-failure \
    --property=MemoryMax=1G --property=CPUWeight=100 --property=TasksMax=512 \
    --property=CapabilityBoundingSet= --property=DevicePolicy=closed \
    --property=KeyringMode=private --property=LimitCORE=0 --property=LockPersonality=yes \
    --property=PrivateDevices=yes --property=ProtectClock=yes \
    --property=ProtectControlGroups=yes --property=ProtectHome=yes --property=ProtectHostname=yes \
    --property=ProtectKernelLogs=yes --property=ProtectKernelModules=yes \
    --property=ProtectKernelTunables=yes --property=ProtectProc=invisible \
    --property=ProtectSystem=strict --property=RestrictNamespaces=yes \
    --property="RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK" \
    --property=RestrictRealtime=yes --property=RestrictSUIDSGID=yes \
    --property=SystemCallArchitectures=native --property=SystemCallFilter=@system-service \
    --property=SystemCallErrorNumber=EPERM --property=UMask=0077 \
    "$program"
  ;;
process)
  HOST=127.0.0.1 PORT=$port setsid "$program" >"$folder/$commit/log" 2>&1 </dev/null &
  echo $! >"$folder/pid-$port"
  ;;
esac

until curl --silent --fail --output /dev/null "http://127.0.0.1:$port/health"; do sleep 0.01; done
curl --silent --show-error --fail --request PATCH --header 'Content-Type: application/json' \
  --data-binary @- "$admin/id/hand" <<EOF
{"@id": "hand", "handler": "subroute", "routes": [
  {"match": [{"host": ["hand.localhost"]}],
   "handle": [{"handler": "reverse_proxy", "upstreams": [{"dial": "127.0.0.1:$port"}]}]},
  {"match": [{"host": ["hand-docs.localhost"]}],
   "handle": [{"handler": "file_server", "root": "$files"}]}]}
EOF
