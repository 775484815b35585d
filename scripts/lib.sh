# shellcheck shell=bash
# What the scripts beside this file share. Source it; it runs nothing by itself.

say() { printf '%s: %s\n' "${0##*/}" "$*" >&2; }

die() {
    say "$*"
    exit 1
}

is_debian() { [ -r /etc/os-release ] && [ "$(. /etc/os-release && echo "${ID:-}")" = debian ]; }

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
