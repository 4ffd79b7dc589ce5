# shellcheck shell=bash
# What .ci/run and .ci/nightly share. A step is a function; it runs in a shell
# of its own with -e, and in a process group of its own, so that whatever it
# started can be ended with it. A failed step does not stop the ones after it:
# one run tells everything that is wrong.

cd "$(dirname "${BASH_SOURCE[0]}")/.."
started=$SECONDS
passed=0
failed=()
database=
group=
scratch=$(mktemp -d)
export LC_ALL=C.UTF-8 DEBIAN_FRONTEND=noninteractive
# A local PostgreSQL answers at once or not at all.
export PGCONNECT_TIMEOUT=5

say() { printf '%s [%4ds] %s\n' "$(date -u +%H:%M:%S)" $((SECONDS - started)) "$*"; }

end_group() {
  if [ -n "$group" ]; then
    kill -TERM -- "-$group" 2>/dev/null || true
    for _ in 1 2 3 4 5 6 7 8 9 10; do
      kill -0 -- "-$group" 2>/dev/null || break
      sleep 0.2
    done
    kill -KILL -- "-$group" 2>/dev/null || true
    group=
  fi
}

cleanup() {
  local code=$?
  trap - EXIT INT TERM
  end_group
  if [ -n "$database" ]; then
    psql -Xqw -d "$admin" -c "DROP DATABASE IF EXISTS $database WITH (FORCE)" || true
  fi
  if [ -d "$scratch/xfs" ]; then umount "$scratch/xfs" 2>/dev/null || true; fi
  # Go's module cache is read-only on purpose; a step may have made one here.
  chmod -R u+w "$scratch" && rm -rf "$scratch"
  exit "$code"
}
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# step NAME FUNCTION [ARGUMENT...]
step() {
  local name=$1 begin=$SECONDS code=0
  shift
  say "--- $name"
  set -m
  (
    set -euo pipefail
    "$@"
  ) </dev/null &
  group=$!
  set +m
  wait "$group" || code=$?
  end_group # what the step left running
  if [ "$code" = 0 ]; then
    passed=$((passed + 1))
    say "ok  $name ($((SECONDS - begin))s)"
  else
    failed+=("$name")
    say "FAILED  $name (exit $code, $((SECONDS - begin))s)"
  fi
}

# finish prints what the steps came to, and fails if one of them did.
finish() {
  local name
  for name in "${failed[@]}"; do
    echo "failed: $name"
  done
  say "all steps done"
  echo "steps: $passed passed, ${#failed[@]} failed"
  [ "${#failed[@]}" = 0 ]
}

# need COMMAND PACKAGE... installs Debian packages where the command is missing.
wanted=()
need() {
  if ! PATH=$PATH:/usr/sbin:/sbin command -v "$1" >/dev/null; then
    shift
    wanted+=("$@")
  fi
}

install_wanted() {
  [ "${#wanted[@]}" -gt 0 ] || return 0
  say "installing ${wanted[*]}"
  if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
    echo "error: missing ${wanted[*]}; run this as root on Debian, or install them" >&2
    exit 1
  fi
  apt-get update -qq
  apt-get install -y -qq --no-install-recommends "${wanted[@]}" >"$scratch/apt.log" 2>&1 ||
    { tail -n 40 "$scratch/apt.log" >&2; exit 1; }
}

# start_postgres sets admin to the URL of a database in which this user may
# create others. It starts and, on a new machine, makes a cluster if none answers.
start_postgres() {
  local version cluster
  find_admin && return 0
  if [ "$(id -u)" = 0 ] && command -v pg_lsclusters >/dev/null; then
    if [ -z "$(pg_lsclusters -h)" ]; then
      version=$(find /usr/lib/postgresql -mindepth 1 -maxdepth 1 -printf '%f\n' | sort -n | tail -n 1)
      pg_createcluster --locale C.UTF-8 "$version" main
    fi
    read -r version cluster _ < <(pg_lsclusters -h)
    pg_ctlcluster --skip-systemctl-redirect "$version" "$cluster" start || true
    for _ in $(seq 60); do
      runuser -u postgres -- psql -Xqw -d postgres -c 'SELECT 1' >/dev/null 2>&1 && break
      sleep 0.5
    done
    find_admin && return 0
    # The socket of a new cluster lets a system user in by name.
    runuser -u postgres -- createuser --superuser "$(id -un)" || true
    find_admin && return 0
  fi
  echo "error: no PostgreSQL that lets $(id -un) create a database" >&2
  exit 1
}

find_admin() {
  local user
  user=$(id -un)
  for admin in \
    "${VITRINE_TEST_POSTGRES:-}" \
    "postgres://$user@127.0.0.1:5432/postgres?sslmode=disable" \
    "postgres:///postgres?host=/var/run/postgresql&user=$user"; do
    [ -n "$admin" ] || continue
    [ "$(psql -XAtqw -d "$admin" 2>/dev/null -c \
      'SELECT rolsuper OR rolcreatedb FROM pg_roles WHERE rolname = current_user')" = t ] && return 0
  done
  return 1
}

# own_database makes a database for this run alone and exports its URL.
own_database() {
  local name=vitrine_ci_$$_$RANDOM path
  psql -Xqw -d "$admin" -c "CREATE DATABASE $name TEMPLATE template0 ENCODING 'UTF8' LOCALE 'C.UTF-8'"
  database=$name
  path=${admin%%\?*}
  VITRINE_TEST_POSTGRES=${path%/*}/$name
  case $admin in *\?*) VITRINE_TEST_POSTGRES+="?${admin#*\?}" ;; esac
  export VITRINE_TEST_POSTGRES
  say "PostgreSQL $(psql -XAtqw -d "$VITRINE_TEST_POSTGRES" -c 'SHOW server_version'), database $name"
}

# The detector watches our code. SQLite's, translated from C, does its own
# locking below anything that ours can share, and is many times slower watched.
# Only that one package is left out: packages with generic code in common with
# the standard library would take the watch from it too, and the linker's choice
# between the two makes false alarms.
# shellcheck disable=SC2034 # the scripts that read this file use it
race_flags=(-race '-gcflags=modernc.org/sqlite/lib=-race=false')

# fuzz TIME runs every fuzz target for that long.
fuzz() {
  local time=$1 file name targets=0
  while IFS=: read -r file name; do
    targets=$((targets + 1))
    # Before Go 1.27 the fuzzer now and then takes the end of its own time for
    # a failure (golang/go#75804). It writes no input down then.
    fuzz_one "$time" "$file" "$name" || {
      grep -q 'context deadline exceeded' "$scratch/fuzz.log" &&
        ! grep -q 'Failing input' "$scratch/fuzz.log" &&
        echo "fuzz $name ended at its deadline without an input; once more" &&
        fuzz_one "$time" "$file" "$name"
    } || {
      cat "$scratch/fuzz.log"
      git ls-files -z --others -- '*/testdata/fuzz/*' | xargs -0r head -v -n 20
      return 1
    }
    tail -n 1 "$scratch/fuzz.log"
  done < <(git grep -oE '^func Fuzz[A-Za-z0-9_]*' -- '*_test.go' | sed 's/func //' | sort)
  echo "$targets fuzz targets, $time each"
  [ "$targets" -gt 0 ]
}

fuzz_one() {
  echo "fuzz $(dirname "$2") $3"
  go test -run '^$' -fuzz "^$3\$" -fuzztime "$1" "./$(dirname "$2")" </dev/null >"$scratch/fuzz.log" 2>&1
}

# no_skips FILE OTHER fails if a test was skipped in the run that gotestsum
# recorded in FILE and did not pass in the one recorded in OTHER.
no_skips() {
  local left
  left=$(comm -23 <(tests_that skip "$1") <(tests_that pass "$2"))
  [ -z "$left" ] || printf 'skipped and run nowhere else: %s\n' "$left"
  [ -z "$left" ]
}

tests_that() {
  sed -nE 's/.*"Action":"'"$1"'","Package":"([^"]*)","Test":"([^"]*)".*/\1 \2/p' "$2" | sort -u
}
