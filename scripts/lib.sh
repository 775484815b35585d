# shellcheck shell=bash
# What the scripts beside this file share. Source it; it runs nothing by itself.

readonly DEBIAN_KEYRING=/usr/share/keyrings/debian-archive-keyring.gpg

say() { printf '%s: %s\n' "${0##*/}" "$*" >&2; }

die() {
    say "$*"
    exit 1
}

is_debian() { [ -r /etc/os-release ] && [ "$(. /etc/os-release && echo "${ID:-}")" = debian ]; }

# Where Debian's packages can be unpacked, if not installed: Debian, or Ubuntu with debian-archive-keyring.
has_debian_apt() { command -v apt-get >/dev/null && [ -r "$DEBIAN_KEYRING" ]; }

is_root() { [ "$(id -u)" -eq 0 ]; }

# confirm "what is going to be done": asks where a person is at the terminal; elsewhere the line alone has to do.
# Not named GREENDOCK_YES: an unknown GREENDOCK_ name in the environment is an error to the application.
confirm() {
    say "going to $1"
    if [ "${ASSUME_YES:-}" = 1 ] || [ "${CI:-}" = true ] || ! [ -t 0 ] || ! [ -t 1 ]; then
        return 0
    fi
    local answer
    read -r -p 'Continue? [y/N] ' answer
    case $answer in [yY] | [yY][eE][sS]) return 0 ;; *) die "nothing was changed" ;; esac
}

# apt_get_install PACKAGE...: Debian packages from this machine's own sources; needs root. Silent unless it fails.
apt_get_install() {
    local output
    export DEBIAN_FRONTEND=noninteractive
    if ! output=$(apt-get update -q 2>&1) ||
        ! output=$(apt-get install -qy --no-install-recommends -o DPkg::Lock::Timeout=120 "$@" 2>&1); then
        tail -n 20 <<<"$output" >&2
        return 1
    fi
}

# The Debian archive this machine already uses, so that a mirror chosen by its owner is used here too.
debian_mirror() {
    local mirror=
    ! is_debian || mirror=$(apt-get indextargets --format '$(RELEASE) $(REPO_URI)' 'Created-By: Packages' 'Component: main' |
        awk '$1 !~ /-/ && !seen { print $2; seen = 1 }')
    echo "${mirror:-http://deb.debian.org/debian}"
}

# private_apt SUITE FOLDER: fills APT with options that make apt see SUITE alone, with every list and cache inside FOLDER
# and nothing installed, so that this machine's own apt is left as it is and no root is needed. Updates the lists.
private_apt() {
    local suite=$1 folder=$2
    mkdir -p "$folder"/{parts,lists/partial,cache/archives/partial}
    : >"$folder/status"
    cat >"$folder/parts/$suite.sources" <<EOF
Types: deb
URIs: $(debian_mirror)
Suites: $suite
Components: main
Signed-By: $DEBIAN_KEYRING
EOF
    # A mirror kept at a point in time is older than the date a testing suite says it is valid until.
    APT=(-qq -o Dir::Etc::SourceList=/dev/null -o "Dir::Etc::SourceParts=$folder/parts"
        -o "Dir::State::Lists=$folder/lists" -o "Dir::State::status=$folder/status" -o "Dir::Cache=$folder/cache"
        -o Acquire::Check-Valid-Until=false -o Acquire::Languages=none -o APT::Sandbox::User=)
    apt-get "${APT[@]}" update
}
