#!/bin/bash
# The first process of the cluster's own namespaces: makes them a machine of their own, runs what it is given, and takes
# everything with it when it ends.
set -eu
run=$1
shift
mount --make-rshared /
mount -t proc proc /proc
for folder in /run /var/lib/cni /var/log; do
  mkdir -p "$folder"
  mount -t tmpfs tmpfs "$folder"
done
mkdir -p /run/lock /var/log/pods /var/log/containers
hostname node1
printf '127.0.0.1 localhost\n10.10.10.10 node1\n' > "$run/hosts"
printf 'nameserver 10.10.10.10\nsearch svc.cluster.local cluster.local\noptions ndots:3\n' > "$run/resolv.conf"
mount --bind "$run/hosts" /etc/hosts
mount --bind "$run/resolv.conf" "$(readlink -f /etc/resolv.conf)"
ip link set lo up
# A dummy link is not in every kernel; a bridge without ports does.
ip link add node0 type bridge
ip addr add 10.10.10.10/32 dev node0
ip link set node0 up
ip route add default dev node0
sysctl -qw net.ipv4.ip_forward=1
"$@" &
child=$!
trap 'kill -TERM $child' TERM INT
status=0
wait $child || status=$?
# A signal ends the wait, not the child.
while kill -0 $child 2>/dev/null; do wait $child || status=$?; done
exit $status
