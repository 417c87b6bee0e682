#!/bin/sh
# The oldest PostgreSQL that Freehold serves from, and PgBouncer: what the tests need besides the embedded server.
# Usage: servers.sh install         installs what is absent, where that can be done (root, apt-get); never fails.
#        servers.sh test PYTEST...  runs the tests marked `servers` on the oldest PostgreSQL, or says why not.
# FREEHOLD_INSTALL=no installs nothing.
set -eu

oldest=15
programs=${FREEHOLD_OLDEST_BIN:-/usr/lib/postgresql/$oldest/bin}

absent() {
    [ -x "$programs/postgres" ] || printf ' postgresql-%s' "$oldest"
    command -v "${FREEHOLD_PGBOUNCER:-pgbouncer}" >/dev/null 2>&1 || [ -x /usr/sbin/pgbouncer ] || printf ' pgbouncer'
}

install() {
    wanted=$(absent)
    [ -n "$wanted" ] || return 0
    if [ "${FREEHOLD_INSTALL:-yes}" = no ]; then
        echo "Not installed, as FREEHOLD_INSTALL=no says:$wanted."
    elif [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null 2>&1; then
        echo "Not installed, since that takes root and apt-get:$wanted."
    else
        echo "Installing for the tests:$wanted."
        # Else Debian's package makes a cluster of the system's own and starts it.
        settings=/etc/postgresql-common/createcluster.d
        if [ ! -e /etc/postgresql-common ]; then
            mkdir -p "$settings" && echo "create_main_cluster = false" >"$settings/freehold-tests.conf" || true
        fi
        export DEBIAN_FRONTEND=noninteractive
        timeout 120 apt-get update -qq >/dev/null 2>&1 || true
        for package in $wanted; do # one by one: the absence of one is no reason to go without the other
            timeout 300 apt-get install -qq -y --no-install-recommends "$package" </dev/null >/dev/null 2>&1 ||
                echo "apt-get cannot install $package."
        done
    fi
}

run() {
    if [ ! -x "$programs/postgres" ]; then
        echo "Left out: the tests on PostgreSQL $oldest. There are no programs in $programs (FREEHOLD_OLDEST_BIN names another folder)."
        return 0
    fi
    echo "On $("$programs/postgres" --version):"
    unset FREEHOLD_TEST_DATABASE_URL
    FREEHOLD_POSTGRES_BIN=$programs "$@" -q -n 2 -m servers
}

case ${1:-} in
install) install ;;
test) shift && run "$@" ;;
*) sed -n '2,5s/^# //p' "$0" >&2 && exit 2 ;;
esac
