#!/bin/sh
# One request of the lab per connection; the other end is src/exec.rs.
#   run ID        then the command until end of input
#                 -> "started", later "STATUS OUT_BYTES ERR_BYTES", stdout, stderr
#   kill ID       -> "ok"
#   put MODE PATH then the file until end of input -> "ok" or what went wrong
export PATH=/usr/sbin:/usr/bin:/sbin:/bin:/usr/lib/xen-4.17/bin:/lab/bin HOME=/root
read -r verb first second
job=/run/lab/$first
case "$verb" in
run)
    mkdir -p "$job"
    cat >"$job/command"
    # A session of its own, so that everything the command started can be killed together.
    setsid sh "$job/command" </dev/null >"$job/out" 2>"$job/err" &
    pid=$!
    echo $pid >"$job/pid"
    echo started
    wait $pid
    status=$?
    out_bytes=$(stat -c %s "$job/out")
    err_bytes=$(stat -c %s "$job/err")
    echo "$status $out_bytes $err_bytes"
    # A daemon left behind may still be writing: send what was announced, no more.
    head -c "$out_bytes" "$job/out"
    head -c "$err_bytes" "$job/err"
    rm -rf "$job"
    ;;
kill)
    kill -KILL "-$(cat "$job/pid")" 2>/dev/null
    echo ok
    ;;
put)
    mkdir -p "${second%/*}"
    # Written beside and renamed: a running program's file cannot be opened for writing.
    if cat >"$second.part" && chmod "$first" "$second.part" && mv "$second.part" "$second"; then
        echo ok
    else
        echo "cannot write $second"
    fi 2>&1
    ;;
*)
    echo "unknown request $verb"
    ;;
esac
