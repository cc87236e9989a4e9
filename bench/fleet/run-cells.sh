#!/bin/sh
# Everything that `matrix --engine ssh` does on a host: run-cells.sh ACTION NAME [ARGUMENT...]
#
# The text of this script is sent with each command. NAME is the folder below ~/.cache/tfrepro/fleet, which belongs to
# one fleet run and one host. Only a folder that is marked as made here is changed or removed.
set -u
umask 077
action=$1 name=$2
shift 2
parent=$HOME/.cache/tfrepro/fleet
folder=$parent/$name
marker=$folder/made-by-tfrepro-fleet.txt

fail() {
    printf '%s\n' "$1" >&2
    exit 4
}

plain() { # refuse what could leave the folder
    case $1 in '' | [!A-Za-z0-9]* | *[!A-Za-z0-9.-]*) fail "invalid name: $1" ;; esac
}

exists() { # whether the folder exists; one that was not made here is an error
    [ -e "$folder" ] || [ -L "$folder" ] || return 1
    { [ -d "$folder" ] && [ ! -L "$folder" ] && [ -f "$marker" ]; } || fail "$folder was not made by tfrepro"
}

store() { # write a file completely or not at all
    printf '%s\n' "$2" >"$1.part" && mv -f "$1.part" "$1"
}

alive() { # whether the cells of this folder are being run; sets pid
    pid=$(cat "$folder/pid" 2>/dev/null)
    case $pid in '' | *[!0-9]*) return 1 ;; esac
    # the number alone could be that of another process by now
    { tr '\0' '\n' <"/proc/$pid/cmdline" | grep -qxF "$folder/run-cells.sh"; } 2>/dev/null
}

receive() { # unpack the bundle of a pair from standard input, unless it is there
    plain "$1"
    if ! exists; then
        mkdir -p "$parent" && mkdir "$folder" && echo "tfrepro made this folder and removes it." >"$marker" || exit 4
    fi
    bundle=$folder/bundles/$1
    [ ! -d "$bundle" ] || exit 0
    rm -rf "$bundle.part"
    mkdir -p "$bundle.part" && tar -xof - -C "$bundle.part" && mv "$bundle.part" "$bundle" || exit 4
}

start() { # run cells (NUMBER=PAIR) under the name of this host; this script comes over standard input
    host=$1
    shift
    exists || fail "$folder does not exist"
    cat >"$folder/run-cells.sh.part" && mv -f "$folder/run-cells.sh.part" "$folder/run-cells.sh" || exit 4
    for word; do
        plain "${word%%=*}"
        plain "${word#*=}"
        cell=$folder/cells/${word%%=*}
        rm -rf "$cell"
        mkdir -p "$cell" && store "$cell/pair" "${word#*=}" && store "$cell/state" "waiting 0 0 0" || exit 4
    done
    alive && exit 0
    nohup setsid sh "$folder/run-cells.sh" run "$name" "$host" </dev/null >"$folder/log.txt" 2>&1 &
    store "$folder/pid" "$!"
}

run() { # run the waiting cells, one after the other
    stopped=
    trap 'stopped=1' TERM INT # the shell runs this after the bundle, which gets the signal as well, has ended
    while [ -z "$stopped" ]; do
        next=
        for file in "$folder"/cells/*/state; do
            case $(cat "$file") in waiting*) next=${file%/state} && break ;; esac
        done
        [ -n "$next" ] || exit 0
        measure "$next" "$1"
    done
}

measure() { # run one cell; its line of state is: PHASE EXIT-CODE BYTES-OF-ARCHIVE START
    pair=$(cat "$1/pair") began=$(date +%s) size=0
    work=$folder/work/$pair
    mkdir -p "$folder/work"
    store "$1/state" "running 0 0 $began"
    sh "$folder/bundles/$pair/run-bundle.sh" --host-name "$2" --dir "$work" >"$1/output.txt" 2>"$1/log.txt" </dev/null
    code=$?
    archive=$(tail -n 1 "$1/output.txt")
    if [ -f "$archive" ] && mv -f "$archive" "$1/records.tar.gz"; then
        size=$(wc -c <"$1/records.tar.gz")
    fi
    store "$1/state" "ended $code $size $began"
    # what is left of a cell without a result lets the next start resume
    [ "$code" -ne 0 ] || rm -rf "$work"
}

report() { # print how far all cells are
    exists || { echo "absent" && exit 0; }
    echo "clock $(date +%s)"
    if alive; then echo "alive"; fi # before the states: a runner that is not alive has written its last one
    for cell in "$folder"/cells/*; do
        [ -f "$cell/state" ] || continue
        echo "cell ${cell##*/} $(cat "$cell/state")"
        echo "error ${cell##*/} $(grep '^error: ' "$cell/log.txt" 2>/dev/null | tail -n 1 | cut -c 8-400)"
    done
    echo "end"
}

fetch() { # print the records archive of a cell
    plain "$1"
    exists && cat "$folder/cells/$1/records.tar.gz"
}

stop() { # end the running cell within so many seconds, then whatever still runs from this folder
    exists || exit 0
    if alive; then
        kill -s TERM -- "-$pid"
        left=$1
        while alive && [ "$left" -gt 0 ]; do
            sleep 1
            left=$((left - 1))
        done
    fi
    for process in /proc/[0-9]*; do
        { tr '\0' '\n' <"$process/cmdline" | grep -qF "$folder/"; } 2>/dev/null || continue
        kill -s KILL "${process#/proc/}" 2>/dev/null
    done
}

remove() { # remove the folder
    exists || exit 0
    if alive; then fail "cells still run in $folder"; fi
    chmod -R u+rwX "$folder"
    rm -rf "$folder" || exit 4
    rmdir "$parent" 2>/dev/null
    exit 0
}

plain "$name"
case $action in
receive | start | run | report | fetch | stop | remove) "$action" "$@" ;;
*) fail "unknown action: $action" ;;
esac
