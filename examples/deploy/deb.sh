#!/bin/sh
# Makes a Debian package of a built binary: deb.sh BINARY FOLDER
#
# It needs dpkg-deb and the usual commands of a shell. Version and description come from Cargo.toml.
# A script in place of the binary makes a package for all architectures.
set -eu
export LC_ALL=C

if [ $# -ne 2 ] || [ ! -f "$1" ]; then
    echo "usage: $0 BINARY FOLDER" >&2
    exit 2
fi
binary=$1
folder=$2
deploy=$(cd "$(dirname "$0")" && pwd)
project=$(cd "$deploy/../.." && pwd)

version=$(sed -n '/^\[workspace\.package\]/,/^\[/s/^version = "\(.*\)"/\1/p' "$project/Cargo.toml")
# In Debian's order 0.2.0~rc.1 is older than 0.2.0.
version=$(printf '%s' "$version" | tr '-' '~')

# An ELF file begins with 127 "ELF"; its bytes 18 and 19 name the machine.
machine() {
    [ "$(od -An -tx1 -N4 "$binary" | tr -d ' ')" = 7f454c46 ] || return 0
    od -An -tu1 -j18 -N2 "$binary" | tr -s ' '
}
case "$(machine)" in
    " 62 0") architecture=amd64 ;;
    " 183 0") architecture=arm64 ;;
    " 243 0") architecture=riscv64 ;;
    "")
        if [ "$(head -c 2 "$binary")" != '#!' ]; then
            echo "$0: $binary is neither an ELF binary nor a script" >&2
            exit 1
        fi
        architecture=all
        ;;
    *)
        echo "$0: $binary is for a machine that this script does not know" >&2
        exit 1
        ;;
esac

depends=
if [ "$architecture" != all ]; then
    # The newest glibc whose symbols the binary names.
    glibc=$(grep -ao 'GLIBC_2\.[0-9.]*[0-9]' "$binary" | sed 's/GLIBC_//' | sort -uV | tail -n 1)
    [ -z "$glibc" ] || depends="libc6 (>= $glibc)"
    if grep -aq 'libgcc_s\.so\.1' "$binary"; then
        depends="${depends:+$depends, }libgcc-s1"
    fi
fi

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
root=$work/root
put() { # MODE FILE PLACE
    install -d -m 755 "$root$(dirname "$3")"
    install -m "$1" "$2" "$root$3"
}
install -d -m 755 "$root" "$root/etc" "$root/usr" "$root/usr/lib" "$root/usr/share" "$root/DEBIAN"
put 755 "$binary" /usr/bin/achromat
put 644 "$deploy/achromat.service" /usr/lib/systemd/system/achromat.service
put 644 "$deploy/achromat.sysusers" /usr/lib/sysusers.d/achromat.conf
put 644 "$deploy/achromat.toml" /etc/achromat/achromat.toml
put 644 "$project/CHANGELOG.md" /usr/share/doc/achromat/CHANGELOG.md
cat > "$work/copyright" <<'END'
Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/
Upstream-Name: Achromat

Files: *
Copyright: the Achromat authors
License: Apache-2.0
 On Debian systems, the text of the Apache License 2.0 is in /usr/share/common-licenses/Apache-2.0.
END
put 644 "$work/copyright" /usr/share/doc/achromat/copyright

cat > "$root/DEBIAN/control" <<END
Package: achromat
Version: $version
Architecture: $architecture
Maintainer: ${MAINTAINER:-The Achromat authors <achromat@localhost>}
Installed-Size: $(du -sk "$root" | cut -f 1)
${depends:+Depends: $depends
}Section: database
Priority: optional
Description: one Chroma address in front of many
 A replicating proxy for the Chroma vector database: it keeps several Chroma
 servers identical through a durable log, and answers while any of them is down.
END
echo /etc/achromat/achromat.toml > "$root/DEBIAN/conffiles"

cat > "$work/postinst" <<'END'
#!/bin/sh
set -e
[ "$1" = configure ] || exit 0
# The service's user.
if command -v systemd-sysusers > /dev/null; then
    systemd-sysusers achromat.conf
elif ! getent passwd achromat > /dev/null; then
    useradd --system --user-group --no-create-home --home-dir /var/lib/achromat \
        --shell /usr/sbin/nologin achromat
fi
if [ -d /run/systemd/system ]; then
    systemctl daemon-reload
    # Where a service runs, an upgrade goes on with the new version; nothing else is started.
    [ -z "$2" ] || systemctl try-restart achromat.service
fi
if [ -z "$2" ]; then
    echo "Name your Chroma servers in /etc/achromat/achromat.toml, then run: systemctl enable --now achromat"
fi
END
cat > "$work/prerm" <<'END'
#!/bin/sh
set -e
if [ "$1" = remove ] && [ -d /run/systemd/system ]; then
    systemctl disable --now achromat.service
fi
END
cat > "$work/postrm" <<'END'
#!/bin/sh
set -e
# The log in /var/lib/achromat may hold acknowledged writes that a server still lacks: it stays, also
# when the package is purged.
if [ -d /run/systemd/system ]; then
    systemctl daemon-reload
fi
END
for script in postinst prerm postrm; do
    install -m 755 "$work/$script" "$root/DEBIAN/$script"
done

mkdir -p "$folder"
package=$folder/achromat_${version}_$architecture.deb
dpkg-deb --root-owner-group --build "$root" "$package" > /dev/null
echo "$package"
