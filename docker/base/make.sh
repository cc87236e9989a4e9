#!/usr/bin/env bash
# Build a base image on a host that can reach a Debian mirror but no image registry.
# usage: make.sh [--force] [TAG]        (needs root; about a minute)
set -euo pipefail

readonly suite=bookworm # has Python 3.11, for which every TensorFlow since 2.12 has wheels
mirror=(${TFREPRO_DEBIAN_MIRROR:+"$TFREPRO_DEBIAN_MIRROR"}) # empty: the default of debootstrap

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
  *[!a-zA-Z0-9_.:/-]* | '' | *:*:*) die "'$tag' is not a valid image tag" ;;
esac

docker="${TFREPRO_DOCKER_CLI:-docker}"
command -v "$docker" >/dev/null || die "the docker command line '$docker' was not found; install docker.io, or set TFREPRO_DOCKER_CLI"
"$docker" version >/dev/null 2>&1 || die "no Docker daemon answers to '$docker version'; start it, or join the docker group"

if [ "$force" = no ] && "$docker" image inspect "$tag" >/dev/null 2>&1; then
  say "$tag already exists; nothing to do (use --force to rebuild it)"
  exit 0
fi
[ "$(id -u)" = 0 ] || die "debootstrap needs root (it creates device nodes and uses chroot): run this script with sudo"
command -v debootstrap >/dev/null || die "debootstrap is missing: install it with 'apt-get install debootstrap'"

work=$(mktemp -d "${TMPDIR:-/tmp}/tfrepro-base.XXXXXXXX")
cleanup() {
  # An interrupted debootstrap leaves these mounted, and rm would then delete inside the /sys of the host.
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
  die "debootstrap failed; set http_proxy, or set TFREPRO_DEBIAN_MIRROR to a mirror that this host can reach"
}

# Remove what only an interactive system needs.
rm -rf "$root"/var/cache/apt/* "$root"/var/lib/apt/lists/* "$root"/var/log/* \
  "$root"/usr/share/doc/* "$root"/usr/share/man/* "$root"/usr/share/locale/* "$root"/tmp/*
# debootstrap copies these from the host; they do not belong in an image.
rm -f "$root"/etc/resolv.conf "$root"/etc/hostname "$root"/etc/apt/apt.conf.d/*proxy*
# The official image also provides the name `python`.
[ -e "$root/usr/bin/python" ] || ln -s python3 "$root/usr/bin/python"

say "importing as $tag"
tar --numeric-owner --one-file-system -C "$root" -c . | "$docker" import \
  --change 'ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8' \
  --change 'CMD ["python3"]' \
  --change 'LABEL org.tfrepro.base=debootstrap org.tfrepro.base.suite='"$suite" \
  --message "docker/base/make.sh: debootstrap $suite" - "$tag" >"$work/id"
say "built $tag, $(cat "$work/id")"
