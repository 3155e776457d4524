#!/bin/sh
# Side by side: pen beside whichever of pen 0.34.1, HAProxy and nginx are installed, in front of the same two servers, round
# after round in turn. Prints medians, and the ratio of ours to the best of the others (above 1: ours is ahead).
#
# usage: compare.sh PATH-OF-OUR-PEN [ROUNDS [SECONDS [WORKLOAD...]]]
# http50, httpget and httpput are ka50, a download and an upload with X-Forwarded-For: our -H, HAProxy's mode http.
# Needs nginx (the servers), wrk, curl. All traffic stays on loopback, on ports from $BENCH_PORT (21000) on.
set -eu
ours=$1 rounds=${2:-5} seconds=${3:-3} port=${BENCH_PORT:-21000}
if [ $# -gt 3 ]; then shift 3; else set -- ka1 ka50 ka400 close50 bulk put http50 httpget httpput; fi
for tool in nginx wrk curl; do
    command -v $tool >/dev/null || { echo "compare.sh: $tool is not installed" >&2; exit 1; }
done
dir=$(mktemp -d) pids=
trap 'kill $pids 2>/dev/null || :; wait; rm -rf "$dir"' EXIT
trap 'exit 130' INT TERM

start() { # name command...: runs it until the end; its process id is in pid_NAME
    name=$1; shift
    "$@" >/dev/null 2>"$dir/$name.err" &
    pids="$pids $!"; eval "pid_$name=$!"
}
answers() { # waits until the port answers
    for _ in 1 2 3 4 5 6 7 8 9 10; do curl -s -o /dev/null "http://127.0.0.1:$1/" && return; sleep 0.2; done
    echo "compare.sh: nothing answers on port $1" >&2; cat "$dir"/*.err >&2; exit 1
}

one=$((port + 1)) two=$((port + 2)) www=$dir/www
mkdir "$www"; chmod 755 "$dir"; truncate -s 1G "$www/big"
cat >"$dir/servers.conf" <<CONF
daemon off; pid $dir/servers.pid; error_log stderr; worker_processes 1; events { worker_connections 4096; }
http { access_log off; client_max_body_size 0; keepalive_requests 1000000000; keepalive_timeout 600; sendfile on; server {
  listen 127.0.0.1:$one backlog=4096; listen 127.0.0.1:$two backlog=4096;
  location / { return 200 "hello\n"; } location /big { root $www; }
  location /put { return 200; } } }
CONF
start servers nginx -c "$dir/servers.conf"; answers $one

contenders=ours port_ours=$((port + 3))
start ours "$ours" -f -x 2000 127.0.0.1:$port_ours 127.0.0.1:$one 127.0.0.1:$two
http_contenders=ours_http port_ours_http=$((port + 7))
start ours_http "$ours" -f -H -x 2000 127.0.0.1:$port_ours_http 127.0.0.1:$one 127.0.0.1:$two
if [ -x /usr/bin/pen ]; then
    contenders="$contenders pen" port_pen=$((port + 4))
    start pen /usr/bin/pen -f -x 2000 127.0.0.1:$port_pen 127.0.0.1:$one 127.0.0.1:$two
fi
if command -v haproxy >/dev/null; then
    contenders="$contenders haproxy" port_haproxy=$((port + 5))
    http_contenders="$http_contenders haproxy_http" port_haproxy_http=$((port + 8))
    cat >"$dir/haproxy.cfg" <<CONF
global
 nbthread $(nproc)
defaults
 mode tcp
 timeout connect 5s
 timeout client 600s
 timeout server 600s
 option splice-auto
listen l
 bind 127.0.0.1:$port_haproxy backlog 4096
 balance roundrobin
 stick-table type ip size 200k expire 30m
 stick on src
 server one 127.0.0.1:$one
 server two 127.0.0.1:$two
CONF
    start haproxy haproxy -db -f "$dir/haproxy.cfg"
    sed "s/mode tcp/mode http/; s/balance roundrobin/&\n option forwardfor/; s/:$port_haproxy /:$port_haproxy_http /" \
        "$dir/haproxy.cfg" >"$dir/haproxy_http.cfg"
    start haproxy_http haproxy -db -f "$dir/haproxy_http.cfg"
fi
stream=/usr/lib/nginx/modules/ngx_stream_module.so
if [ -e $stream ]; then
    contenders="$contenders nginx" port_nginx=$((port + 6))
    cat >"$dir/nginx.conf" <<CONF
load_module $stream; daemon off; pid $dir/nginx.pid; error_log stderr; worker_processes $(nproc);
events { worker_connections 4096; } stream { upstream u { hash \$remote_addr consistent; server 127.0.0.1:$one; server 127.0.0.1:$two; }
 server { listen 127.0.0.1:$port_nginx backlog=4096; proxy_pass u; } }
CONF
    start nginx nginx -c "$dir/nginx.conf"
fi
for c in $contenders $http_contenders; do eval "answers \$port_$c"; done

ticks() { # processor time of a contender and its children so far, in 1/100 s
    eval "p=\$pid_$1"; t=0
    for x in $p $(cat /proc/"$p"/task/*/children 2>/dev/null); do
        t=$((t + $(sed 's/.*) //' /proc/"$x"/stat | awk '{print $12 + $13}')))
    done
    echo $t
}
measure() { # workload contender: "rate cost", and of requests also the 99th percentile of their time
    eval "at=127.0.0.1:\$port_$2"; before=$(ticks "$2")
    case $1 in
    ka* | http50) did=$(wrk -t1 -c"${1##*[a-z]}" -d"${seconds}s" --latency "http://$at/") ;;
    close*) did=$(wrk -t1 -c"${1#close}" -d"${seconds}s" --latency -H 'Connection: close' "http://$at/") ;;
    bulk | httpget) did=$(curl -s -o /dev/null -w '%{speed_download} bulk' "http://$at/big") ;;
    put | httpput)
        did=$(curl -s -o /dev/null -H 'Expect:' -T "$www/big" -w '%{speed_upload} bulk' "http://$at/put") ;;
    esac
    after=$(ticks "$2")
    echo "$did" | awk -v t=$((after - before)) '
        / bulk$/ { print $1 / 1e9, t / 100 / 1.073741824 }
        $1 == "99%" { u = $2 ~ /us$/ ? 1 : $2 ~ /ms$/ ? 1e3 : 1e6; p = $2 * u }
        /requests in/ { n = $1 } /^Requests.sec/ { print $2, t * 1e4 / n, p }'
}
report() { # workload unit column contenders direction: the medians of a column
    printf '%-8s %-12s' "$1" "$2"
    for c in $4; do
        m=$(awk -v k="$3" '{ print $k }' "$dir/$1.$c" | sort -g | awk '{ v[NR] = $1 } END { print v[int((NR + 1) / 2)] }')
        printf ' %s %.4g ' "$c" "$m"; echo "$c $m" >>"$dir/medians"
    done
    awk -v d="$5" '$1 ~ /^ours/ { o = $2; next } !n++ || (d > 0 ? $2 > b : $2 < b) { b = $2; w = $1 }
        END { if (n && o && b) printf "  ours/best(%s) %.2f", w, (d > 0 ? o / b : b / o) }' "$dir/medians"
    rm "$dir/medians"; echo
}

for workload; do
    case $workload in http*) of=$http_contenders ;; *) of=$contenders ;; esac
    i=0
    while [ $i -lt "$rounds" ]; do
        for c in $of; do measure $workload "$c" >>"$dir/$workload.$c"; done
        i=$((i + 1))
    done
    case $workload in
    bulk | put | httpget | httpput) report $workload GB/s 1 "$of" 1; report $workload 'CPU s/GB' 2 "$of" -1 ;;
    *) report $workload req/s 1 "$of" 1; report $workload 'CPU us/req' 2 "$of" -1; report $workload 'p99 us' 3 "$of" -1 ;;
    esac
done
