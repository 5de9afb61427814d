# Sourced by the scripts and the Makefile's recipes: where downloads live, and the private tools before the system's.
export CARRONADE_CACHE=${CARRONADE_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/carronade}
export CARRONADE_VENV=$CARRONADE_CACHE/venv
export CARRONADE_CLIENTS=$CARRONADE_CACHE/clients  # the API clients that tests drive
export PATH=$CARRONADE_VENV/bin:$PATH
# Compiled objects are found again from another clone too.
export CCACHE_BASEDIR=$PWD CCACHE_NOHASHDIR=1
