# bash completion for mcp-tunnel-relay. Made from the help of mcp-tunnel-relay; see tests/tools/documents/.

_mcp_tunnel_relay() {
    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]}
    COMPREPLY=()
    case "$prev" in
        --url-file)
            mapfile -t COMPREPLY < <(compgen -f -- "$cur")
            return
            ;;
        --log-level)
            mapfile -t COMPREPLY < <(compgen -W 'error warn info debug' -- "$cur")
            return
            ;;
        --listen | \
        --public-url | \
        --allowed-host | \
        --allowed-origin | \
        --tunnel-id | \
        --runtime-key | \
        --connector-key | \
        --name | \
        --admin-key | \
        --response-timeout | \
        --pickup-timeout | \
        --deliver-grace | \
        --client-last-seen | \
        --warm-up | \
        --sse-commit-after | \
        --sse-keepalive | \
        --drain-timeout)
            return
            ;;
    esac
    local words='serve --help --version'
    [[ ${COMP_WORDS[1]} == serve && $COMP_CWORD -gt 1 ]] && words='--help
        --listen
        --behind-tls-proxy
        --public-url
        --allowed-host
        --allowed-origin
        --url-file
        --tunnel-id
        --runtime-key
        --connector-key
        --name
        --admin-key
        --dev
        --response-timeout
        --pickup-timeout
        --deliver-grace
        --client-last-seen
        --warm-up
        --sse-commit-after
        --sse-keepalive
        --drain-timeout
        --log-level
        --no-confinement'
    mapfile -t COMPREPLY < <(compgen -W "$words" -- "$cur")
}
complete -F _mcp_tunnel_relay mcp-tunnel-relay
