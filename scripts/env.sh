# Sourced by the scripts and the Makefile's recipes: where downloads live, and the private tools before the system's.
export CARRONADE_CACHE=${CARRONADE_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/carronade}
export CARRONADE_VENV=$CARRONADE_CACHE/venv
export PATH=$CARRONADE_VENV/bin:$PATH
export CCACHE_DIR=${CCACHE_DIR:-$CARRONADE_CACHE/ccache}
export CCACHE_MAXSIZE=${CCACHE_MAXSIZE:-3G}
