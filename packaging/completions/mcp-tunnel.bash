# bash completion for mcp-tunnel. Made from the tables of commands and settings; see src/cli/docs/.

_mcp_tunnel() {
    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]}
    local path=mcp-tunnel word i
    for ((i = 1; i < COMP_CWORD; i++)); do
        word=${COMP_WORDS[i]}
        case "$path $word" in
            'mcp-tunnel run') path='mcp-tunnel run' ;;
            'mcp-tunnel config') path='mcp-tunnel config' ;;
            'mcp-tunnel config check') path='mcp-tunnel config check' ;;
            'mcp-tunnel config show') path='mcp-tunnel config show' ;;
            'mcp-tunnel mcp-stub') path='mcp-tunnel mcp-stub' ;;
        esac
    done
    COMPREPLY=()
    case "$prev" in
        --config | \
        --profile-file | \
        --profile-dir | \
        --ca-bundle | \
        --control-plane.client-cert | \
        --control-plane.client-key | \
        --mcp.client-cert | \
        --mcp.client-key | \
        --log.file | \
        --health.unix-socket | \
        --health.url-file | \
        --pid.file | \
        -c)
            mapfile -t COMPREPLY < <(compgen -f -- "$cur")
            return
            ;;
        --profile | \
        --http-proxy | \
        --control-plane.base-url | \
        --control-plane.url-path | \
        --control-plane.tunnel-id | \
        --control-plane.organization-id | \
        --control-plane.api-key | \
        --control-plane.http-proxy | \
        --control-plane.max-inflight | \
        --control-plane.poll-timeout | \
        --control-plane.poll-deadline-guardrail | \
        --control-plane.poll-channel | \
        --control-plane.extra-headers | \
        --mcp.server-url | \
        --mcp.command | \
        --mcp.http-proxy | \
        --mcp.extra-headers | \
        --mcp.discovery-extra-headers | \
        --mcp.startup-wait-timeout | \
        --mcp.connection-max-ttl | \
        --mcp.max-concurrent-requests | \
        --harpoon.target | \
        --harpoon.max-response-bytes | \
        --harpoon.max-redirects | \
        --harpoon.http-proxy | \
        --harpoon.hosts-include-suffix | \
        --harpoon.hosts-include-regex | \
        --health.listen-addr | \
        --shutdown-grace | \
        --admin-ui.log-buffer-events | \
        --proxy.check-interval)
            :
            return
            ;;
        --harpoon.additional-transport)
            mapfile -t COMPREPLY < <(compgen -W 'http-streamable' -- "$cur")
            return
            ;;
        --log.level)
            mapfile -t COMPREPLY < <(compgen -W 'debug info warn error' -- "$cur")
            return
            ;;
        --log.format)
            mapfile -t COMPREPLY < <(compgen -W 'struct-text json' -- "$cur")
            return
            ;;
    esac
    local words=
    case "$path" in
        'mcp-tunnel') words='run config mcp-stub --help' ;;
        'mcp-tunnel run') words='--config --profile --profile-file --profile-dir --ca-bundle --http-proxy --control-plane.base-url --control-plane.url-path --control-plane.tunnel-id --control-plane.organization-id --control-plane.api-key --control-plane.client-cert --control-plane.client-key --control-plane.http-proxy --control-plane.max-inflight --control-plane.poll-timeout --control-plane.poll-deadline-guardrail --control-plane.poll-channel --control-plane.extra-headers --mcp.server-url --mcp.command --mcp.http-proxy --mcp.client-cert --mcp.client-key --mcp.extra-headers --mcp.discovery-extra-headers --mcp.startup-wait-timeout --mcp.connection-max-ttl --mcp.max-concurrent-requests --harpoon.target --harpoon.allow-plaintext-http --harpoon.max-response-bytes --harpoon.max-redirects --harpoon.http-proxy --harpoon.additional-transport --harpoon.hosts-include-suffix --harpoon.hosts-include-regex --harpoon.hosts-include-loopback --harpoon.hosts-include-private --harpoon.capture-payloads --log.level --log.format --log.file --log.http-raw-unsafe --health.listen-addr --health.unix-socket --health.url-file --pid.file --shutdown-grace --allow-remote-ui --open-web-ui --admin-ui.log-buffer-events --proxy.check-interval --help' ;;
        'mcp-tunnel config') words='check show --help' ;;
        'mcp-tunnel config check') words='--json --config --profile --profile-file --profile-dir --ca-bundle --http-proxy --control-plane.base-url --control-plane.url-path --control-plane.tunnel-id --control-plane.organization-id --control-plane.api-key --control-plane.client-cert --control-plane.client-key --control-plane.http-proxy --control-plane.max-inflight --control-plane.poll-timeout --control-plane.poll-deadline-guardrail --control-plane.poll-channel --control-plane.extra-headers --mcp.server-url --mcp.command --mcp.http-proxy --mcp.client-cert --mcp.client-key --mcp.extra-headers --mcp.discovery-extra-headers --mcp.startup-wait-timeout --mcp.connection-max-ttl --mcp.max-concurrent-requests --harpoon.target --harpoon.allow-plaintext-http --harpoon.max-response-bytes --harpoon.max-redirects --harpoon.http-proxy --harpoon.additional-transport --harpoon.hosts-include-suffix --harpoon.hosts-include-regex --harpoon.hosts-include-loopback --harpoon.hosts-include-private --harpoon.capture-payloads --log.level --log.format --log.file --log.http-raw-unsafe --health.listen-addr --health.unix-socket --health.url-file --pid.file --shutdown-grace --allow-remote-ui --open-web-ui --admin-ui.log-buffer-events --proxy.check-interval --help' ;;
        'mcp-tunnel config show') words='--json --config --profile --profile-file --profile-dir --ca-bundle --http-proxy --control-plane.base-url --control-plane.url-path --control-plane.tunnel-id --control-plane.organization-id --control-plane.api-key --control-plane.client-cert --control-plane.client-key --control-plane.http-proxy --control-plane.max-inflight --control-plane.poll-timeout --control-plane.poll-deadline-guardrail --control-plane.poll-channel --control-plane.extra-headers --mcp.server-url --mcp.command --mcp.http-proxy --mcp.client-cert --mcp.client-key --mcp.extra-headers --mcp.discovery-extra-headers --mcp.startup-wait-timeout --mcp.connection-max-ttl --mcp.max-concurrent-requests --harpoon.target --harpoon.allow-plaintext-http --harpoon.max-response-bytes --harpoon.max-redirects --harpoon.http-proxy --harpoon.additional-transport --harpoon.hosts-include-suffix --harpoon.hosts-include-regex --harpoon.hosts-include-loopback --harpoon.hosts-include-private --harpoon.capture-payloads --log.level --log.format --log.file --log.http-raw-unsafe --health.listen-addr --health.unix-socket --health.url-file --pid.file --shutdown-grace --allow-remote-ui --open-web-ui --admin-ui.log-buffer-events --proxy.check-interval --help' ;;
        'mcp-tunnel mcp-stub') words='--help' ;;
    esac
    mapfile -t COMPREPLY < <(compgen -W "$words" -- "$cur")
}
complete -F _mcp_tunnel mcp-tunnel
