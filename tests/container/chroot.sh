#!/usr/bin/env bash
# Runs the RUN steps of the Dockerfile, one after the other, in a new Debian that debootstrap makes from Debian's packages:
# for machines without Docker. In place of the base image's Rust it has a copy of this machine's.
#
#     sudo tests/container/chroot.sh              # all steps: 20 minutes and more, 8 GB in a temporary folder
#     sudo tests/container/chroot.sh --steps 4    # the first four, all but set-up: a few minutes
#
# Needs root and debootstrap (apt install debootstrap). DEBIAN_MIRROR names another mirror.
set -euo pipefail
cd "$(dirname "$0")/../.."
steps=1000
while (($#)); do
    case $1 in
    --steps) steps=${2:?--steps needs a number} && shift 2 ;;
    *) echo "$0: $1 is not known; see its first lines" >&2 && exit 2 ;;
    esac
done
[ "$(id -u)" = 0 ] || { echo "$0: chroot needs root: try sudo" >&2 && exit 1; }
command -v debootstrap >/dev/null || { echo "$0: there is no debootstrap: apt install debootstrap" >&2 && exit 1; }

root=$(mktemp -d)
clean() {
    umount "$root/dev" "$root/proc" 2>/dev/null || true
    rm -rf --one-file-system "$root"
}
trap clean EXIT

# FROM: rust:1.95-bookworm is a Debian bookworm with Rust in /usr/local.
image=$(sed -n 's/^FROM \([^ ]*\) AS tools$/\1/p' Dockerfile)
suite=${image##*-}
echo "== $image: Debian $suite"
debootstrap --variant=minbase --include=ca-certificates "$suite" "$root" ${DEBIAN_MIRROR:+"$DEBIAN_MIRROR"} >"$root.log" 2>&1 ||
    { tail -n 5 "$root.log" >&2 && exit 1; }
rm -f "$root.log"
sysroot=$(rustc --print sysroot)
cp -aL "$sysroot" "$root/usr/local/rust"
# The toolchain is there already, which is what the base image's rustup would find; it has the components, or this fails.
cat >"$root/usr/local/bin/rustup" <<'RUSTUP'
#!/bin/sh
[ "$1 $2" = "component add" ] || { echo "rustup $*: only components are asked for here" >&2; exit 1; }
shift 2
for component; do
    case $component in
    rust-src) file=lib/rustlib/src/rust/library/std/src/lib.rs ;;
    rustfmt) file=bin/rustfmt ;;
    clippy) file=bin/cargo-clippy ;;
    *) echo "no component $component" >&2 && exit 1 ;;
    esac
    [ -e "/usr/local/rust/$file" ] || { echo "this machine's Rust has no $component" >&2; exit 1; }
done
RUSTUP
chmod +x "$root/usr/local/bin/rustup"
mount --bind /dev "$root/dev"
mount -t proc proc "$root/proc"
# How this machine reaches the registries of packages, and whose certificates it trusts.
for file in /etc/resolv.conf /etc/pip.conf; do
    [ ! -e "$file" ] || cp -L "$file" "$root$file"
done
registries=()
certificates=${SSL_CERT_FILE:-/etc/ssl/certs/ca-certificates.crt}
if [ -e "$certificates" ]; then
    cp -L "$certificates" "$root/etc/certificates-of-this-machine.crt"
    for name in PIP_CERT SSL_CERT_FILE CARGO_HTTP_CAINFO; do
        registries+=("$name=/etc/certificates-of-this-machine.crt")
    done
fi
for name in http_proxy https_proxy no_proxy; do
    [ -z "${!name:-}" ] || registries+=("$name=${!name}")
done
mkdir -p "$root/root/.cargo"
cargo_config=${CARGO_HOME:-$HOME/.cargo}/config.toml
[ ! -e "$cargo_config" ] || cp "$cargo_config" "$root/root/.cargo/"

folder=/
number=0
while IFS= read -r line; do
    case $line in
    "WORKDIR "*)
        folder=${line#WORKDIR }
        mkdir -p "$root$folder"
        ;;
    "COPY . ."*) git ls-files -z --cached --others --exclude-standard | tar --create --null --files-from=- | tar --extract --directory="$root$folder" ;;
    "RUN "*)
        number=$((number + 1))
        ((number <= steps)) || break
        start=$SECONDS
        printf '== step %d\n+ %s\n' "$number" "${line#RUN }"
        # Nothing else of this machine's environment, whose folders are not there.
        chroot "$root" env -i HOME=/root LANG=C.UTF-8 DEBIAN_FRONTEND=noninteractive ${registries[@]+"${registries[@]}"} \
            PATH=/usr/local/rust/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
            sh -c "cd $folder && ${line#RUN }" </dev/null
        printf -- '-- step %d: %d s\n' "$number" $((SECONDS - start))
        ;;
    "" | "#"* | "FROM "* | "ENTRYPOINT "* | "CMD "*) ;;
    *) echo "$0: it does not know this line of the Dockerfile: $line" >&2 && exit 1 ;;
    esac
done <Dockerfile
((number > 0)) || { echo "$0: the Dockerfile has no step" >&2 && exit 1; }
echo "-- all steps went well"
