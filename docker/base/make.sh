#!/usr/bin/env bash
# Makes a base image for the pairs on a host that reaches a Debian mirror but no image registry.
# usage: make.sh [--force] [TAG]        (needs root; about a minute)
set -euo pipefail

readonly suite=bookworm # its Python is 3.11, which every TensorFlow from 2.12 on has wheels for
mirror=(${TFREPRO_DEBIAN_MIRROR:+"$TFREPRO_DEBIAN_MIRROR"}) # none: debootstrap's own default

say() { printf 'make.sh: %s\n' "$*" >&2; }
die() {
  say "$*"
  exit 4
}

force=no
tag=python:3.11-slim-bookworm
for argument in "$@"; do
  case "$argument" in
    --force) force=yes ;;
    -h | --help)
      sed -n '2,3s/^# //p' "$0"
      exit 0
      ;;
    -*) die "unknown option $argument; usage: make.sh [--force] [TAG]" ;;
    *) tag=$argument ;;
  esac
done
case "$tag" in
  *[!a-zA-Z0-9_.:/-]* | '' | *:*:*) die "'$tag' is no image tag" ;;
esac

docker="${TFREPRO_DOCKER_CLI:-docker}"
command -v "$docker" >/dev/null || die "no docker command line ('$docker'); install docker.io, or set TFREPRO_DOCKER_CLI"
"$docker" version >/dev/null 2>&1 || die "no Docker daemon answers '$docker version'; start it, or join the docker group"

if [ "$force" = no ] && "$docker" image inspect "$tag" >/dev/null 2>&1; then
  say "$tag exists already; nothing to do (--force makes it anew)"
  exit 0
fi
[ "$(id -u)" = 0 ] || die "debootstrap needs root (it makes device nodes and changes root): run it with sudo"
command -v debootstrap >/dev/null || die "debootstrap is missing: install it with 'apt-get install debootstrap'"

work=$(mktemp -d "${TMPDIR:-/tmp}/tfrepro-base.XXXXXXXX")
cleanup() {
  # An interrupted debootstrap leaves these mounted; without this, rm would walk into the host's own /sys.
  for mounted in proc sys dev/pts dev/shm dev; do
    umount -l "$work/root/$mounted" 2>/dev/null || true
  done
  rm -rf --one-file-system "$work"
}
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

root="$work/root"
say "debootstrap $suite from ${mirror[*]:-the default mirror}"
debootstrap --variant=minbase --include=python3,python3-venv,ca-certificates "$suite" "$root" "${mirror[@]}" \
  >"$work/log" 2>&1 || {
  tail -n 20 "$work/log" >&2
  [ ! -f "$root/debootstrap/debootstrap.log" ] || tail -n 5 "$root/debootstrap/debootstrap.log" >&2
  die "debootstrap failed; set http_proxy, or TFREPRO_DEBIAN_MIRROR to a mirror this host reaches"
}

# What only an interactive Debian needs; and the name `python`, which the official image has too.
rm -rf "$root"/var/cache/apt/* "$root"/var/lib/apt/lists/* "$root"/var/log/* \
  "$root"/usr/share/doc/* "$root"/usr/share/man/* "$root"/usr/share/locale/* "$root"/tmp/*
# These are copied from this host by debootstrap: no business of an image.
rm -f "$root"/etc/resolv.conf "$root"/etc/hostname "$root"/etc/apt/apt.conf.d/*proxy*
[ -e "$root/usr/bin/python" ] || ln -s python3 "$root/usr/bin/python"

say "importing as $tag"
tar --numeric-owner --one-file-system -C "$root" -c . | "$docker" import \
  --change 'ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8' \
  --change 'CMD ["python3"]' \
  --change 'LABEL org.tfrepro.base=debootstrap org.tfrepro.base.suite='"$suite" \
  --message "docker/base/make.sh: debootstrap $suite" - "$tag" >"$work/id"
say "made $tag, $(cat "$work/id")"
