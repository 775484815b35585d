# shellcheck shell=bash
# Debian's packages for the scripts beside this file. Source it after lib.sh; it runs nothing by itself.

readonly DEBIAN_KEYRING=/usr/share/keyrings/debian-archive-keyring.gpg

# Where Debian's packages can be unpacked, if not installed: Debian, or Ubuntu with debian-archive-keyring.
has_debian_apt() { command -v apt-get >/dev/null && [ -r "$DEBIAN_KEYRING" ]; }

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
