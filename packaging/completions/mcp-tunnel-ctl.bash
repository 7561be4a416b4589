# bash completion for mcp-tunnel-ctl. Made from the tables of commands and settings; see tests/tools/documents/.

_mcp_tunnel_ctl() {
    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]}
    local path=mcp-tunnel-ctl word i
    for ((i = 1; i < COMP_CWORD; i++)); do
        word=${COMP_WORDS[i]}
        case "$path $word" in
            'mcp-tunnel-ctl top') path='mcp-tunnel-ctl top' ;;
            'mcp-tunnel-ctl profiles') path='mcp-tunnel-ctl profiles' ;;
            'mcp-tunnel-ctl profiles list') path='mcp-tunnel-ctl profiles list' ;;
            'mcp-tunnel-ctl profiles add') path='mcp-tunnel-ctl profiles add' ;;
            'mcp-tunnel-ctl profiles edit') path='mcp-tunnel-ctl profiles edit' ;;
            'mcp-tunnel-ctl profiles show') path='mcp-tunnel-ctl profiles show' ;;
            'mcp-tunnel-ctl profiles validate') path='mcp-tunnel-ctl profiles validate' ;;
            'mcp-tunnel-ctl profiles rm') path='mcp-tunnel-ctl profiles rm' ;;
            'mcp-tunnel-ctl profiles samples') path='mcp-tunnel-ctl profiles samples' ;;
            'mcp-tunnel-ctl profiles samples list') path='mcp-tunnel-ctl profiles samples list' ;;
            'mcp-tunnel-ctl profiles samples show') path='mcp-tunnel-ctl profiles samples show' ;;
            'mcp-tunnel-ctl admin') path='mcp-tunnel-ctl admin' ;;
            'mcp-tunnel-ctl admin tunnels') path='mcp-tunnel-ctl admin tunnels' ;;
            'mcp-tunnel-ctl admin tunnels create') path='mcp-tunnel-ctl admin tunnels create' ;;
            'mcp-tunnel-ctl admin tunnels get') path='mcp-tunnel-ctl admin tunnels get' ;;
            'mcp-tunnel-ctl admin tunnels list') path='mcp-tunnel-ctl admin tunnels list' ;;
            'mcp-tunnel-ctl admin tunnels update') path='mcp-tunnel-ctl admin tunnels update' ;;
            'mcp-tunnel-ctl admin tunnels delete') path='mcp-tunnel-ctl admin tunnels delete' ;;
            'mcp-tunnel-ctl runtimes') path='mcp-tunnel-ctl runtimes' ;;
            'mcp-tunnel-ctl runtimes create') path='mcp-tunnel-ctl runtimes create' ;;
            'mcp-tunnel-ctl runtimes connect') path='mcp-tunnel-ctl runtimes connect' ;;
            'mcp-tunnel-ctl runtimes list') path='mcp-tunnel-ctl runtimes list' ;;
            'mcp-tunnel-ctl runtimes status') path='mcp-tunnel-ctl runtimes status' ;;
            'mcp-tunnel-ctl runtimes stop') path='mcp-tunnel-ctl runtimes stop' ;;
            'mcp-tunnel-ctl runtimes rm') path='mcp-tunnel-ctl runtimes rm' ;;
            'mcp-tunnel-ctl runtimes cleanup') path='mcp-tunnel-ctl runtimes cleanup' ;;
            'mcp-tunnel-ctl admin-profiles') path='mcp-tunnel-ctl admin-profiles' ;;
            'mcp-tunnel-ctl admin-profiles list') path='mcp-tunnel-ctl admin-profiles list' ;;
            'mcp-tunnel-ctl admin-profiles set') path='mcp-tunnel-ctl admin-profiles set' ;;
            'mcp-tunnel-ctl admin-profiles activate') path='mcp-tunnel-ctl admin-profiles activate' ;;
            'mcp-tunnel-ctl admin-profiles delete') path='mcp-tunnel-ctl admin-profiles delete' ;;
            'mcp-tunnel-ctl dev') path='mcp-tunnel-ctl dev' ;;
            'mcp-tunnel-ctl dev proxy') path='mcp-tunnel-ctl dev proxy' ;;
            'mcp-tunnel-ctl help') path='mcp-tunnel-ctl help' ;;
        esac
    done
    COMPREPLY=()
    case "$prev" in
        --url | \
        --port | \
        --profile | \
        --http-proxy | \
        --control-plane.base-url | \
        --control-plane.url-path | \
        --control-plane.tunnel-id | \
        --control-plane.organization-id | \
        --control-plane.api-key | \
        --control-plane.http-proxy | \
        --control-plane.max-inflight | \
        --control-plane.polls-in-flight | \
        --control-plane.poll-timeout | \
        --control-plane.poll-deadline-guardrail | \
        --control-plane.poll-channel | \
        --control-plane.extra-headers | \
        --mcp.server-url | \
        --mcp.command | \
        --mcp.pass-env | \
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
        --admin-ui.token | \
        --admin-ui.log-buffer-events | \
        --proxy.check-interval | \
        --sample | \
        --tunnel-id | \
        --mcp-server-url | \
        --mcp-command | \
        --control-plane-base-url | \
        --control-plane-api-key-ref | \
        --health-listen-addr | \
        --name | \
        --description | \
        --organization-id | \
        --workspace-id | \
        --admin-key | \
        --tenant-id | \
        --alias | \
        --admin-profile | \
        --runtime-api-key | \
        --listen | \
        --backend | \
        --engine-queue-backend | \
        --duration | \
        --readiness-timeout | \
        --response-timeout | \
        --client-last-seen-timeout)
            :
            return
            ;;
        --url-file | \
        --unix-socket | \
        --config | \
        --profile-file | \
        --profile-dir | \
        --ca-bundle | \
        --control-plane.client-cert | \
        --control-plane.client-key | \
        --control-plane.unix-socket | \
        --mcp.client-cert | \
        --mcp.client-key | \
        --log.file | \
        --log.audit-file | \
        --health.unix-socket | \
        --health.url-file | \
        --pid.file | \
        --from-file | \
        --control-plane-url-path | \
        --listen-unix-socket | \
        -c)
            mapfile -t COMPREPLY < <(compgen -f -- "$cur")
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
        --confinement)
            mapfile -t COMPREPLY < <(compgen -W 'on off require' -- "$cur")
            return
            ;;
    esac
    local words= settings='
        --config
        --profile
        --profile-file
        --profile-dir
        --ca-bundle
        --http-proxy
        --control-plane.base-url
        --control-plane.url-path
        --control-plane.tunnel-id
        --control-plane.organization-id
        --control-plane.api-key
        --control-plane.client-cert
        --control-plane.client-key
        --control-plane.http-proxy
        --control-plane.unix-socket
        --control-plane.max-inflight
        --control-plane.polls-in-flight
        --control-plane.poll-timeout
        --control-plane.poll-deadline-guardrail
        --control-plane.poll-channel
        --control-plane.extra-headers
        --mcp.server-url
        --mcp.command
        --mcp.pass-env
        --mcp.inherit-env
        --mcp.http-proxy
        --mcp.client-cert
        --mcp.client-key
        --mcp.extra-headers
        --mcp.discovery-extra-headers
        --mcp.startup-wait-timeout
        --mcp.connection-max-ttl
        --mcp.max-concurrent-requests
        --harpoon.target
        --harpoon.allow-plaintext-http
        --harpoon.max-response-bytes
        --harpoon.max-redirects
        --harpoon.http-proxy
        --harpoon.additional-transport
        --harpoon.hosts-include-suffix
        --harpoon.hosts-include-regex
        --harpoon.hosts-include-loopback
        --harpoon.hosts-include-private
        --harpoon.capture-payloads
        --log.level
        --log.format
        --log.file
        --log.audit-file
        --log.http-raw-unsafe
        --health.listen-addr
        --health.unix-socket
        --health.url-file
        --pid.file
        --shutdown-grace
        --confinement
        --allow-remote-ui
        --admin-ui.token
        --open-web-ui
        --admin-ui.log-buffer-events
        --proxy.check-interval'
    case "$path" in
        'mcp-tunnel-ctl') words="top profiles admin runtimes admin-profiles dev help --help" ;;
        'mcp-tunnel-ctl top') words="--help --url --url-file --port --unix-socket --once $settings" ;;
        'mcp-tunnel-ctl profiles') words="list add edit show validate rm samples --help" ;;
        'mcp-tunnel-ctl profiles list') words="--help --profile-dir --json" ;;
        'mcp-tunnel-ctl profiles add') words="--help --from-file --sample --tunnel-id --mcp-server-url --mcp-command --control-plane-base-url --control-plane-url-path --control-plane-api-key-ref --health-listen-addr --force --profile-dir" ;;
        'mcp-tunnel-ctl profiles edit') words="--help --profile-dir" ;;
        'mcp-tunnel-ctl profiles show') words="--help --profile-dir" ;;
        'mcp-tunnel-ctl profiles validate') words="--help --profile-dir" ;;
        'mcp-tunnel-ctl profiles rm') words="--help --profile-dir" ;;
        'mcp-tunnel-ctl profiles samples') words="list show --help" ;;
        'mcp-tunnel-ctl profiles samples list') words="--help" ;;
        'mcp-tunnel-ctl profiles samples show') words="--help" ;;
        'mcp-tunnel-ctl admin') words="tunnels --help" ;;
        'mcp-tunnel-ctl admin tunnels') words="create get list update delete --help" ;;
        'mcp-tunnel-ctl admin tunnels create') words="--help --name --description --organization-id --workspace-id --admin-key --json --ca-bundle --control-plane.base-url --control-plane.url-path" ;;
        'mcp-tunnel-ctl admin tunnels get') words="--help --admin-key --json --ca-bundle --control-plane.base-url --control-plane.url-path" ;;
        'mcp-tunnel-ctl admin tunnels list') words="--help --organization-id --workspace-id --tenant-id --admin-key --json --ca-bundle --control-plane.base-url --control-plane.url-path" ;;
        'mcp-tunnel-ctl admin tunnels update') words="--help --name --description --organization-id --workspace-id --admin-key --json --ca-bundle --control-plane.base-url --control-plane.url-path" ;;
        'mcp-tunnel-ctl admin tunnels delete') words="--help --confirm --admin-key --json --ca-bundle --control-plane.base-url --control-plane.url-path" ;;
        'mcp-tunnel-ctl runtimes') words="create connect list status stop rm cleanup --help" ;;
        'mcp-tunnel-ctl runtimes create') words="--help --alias --name --description --organization-id --workspace-id --admin-profile --admin-key --control-plane-base-url --control-plane-url-path --profile-dir --json --ca-bundle" ;;
        'mcp-tunnel-ctl runtimes connect') words="--help --alias --tunnel-id --mcp-server-url --mcp-command --runtime-api-key --force --profile-dir --json" ;;
        'mcp-tunnel-ctl runtimes list') words="--help --profile-dir --json" ;;
        'mcp-tunnel-ctl runtimes status') words="--help --profile-dir --json" ;;
        'mcp-tunnel-ctl runtimes stop') words="--help --profile-dir --json" ;;
        'mcp-tunnel-ctl runtimes rm') words="--help --profile-dir --json" ;;
        'mcp-tunnel-ctl runtimes cleanup') words="--help --apply --profile-dir --json" ;;
        'mcp-tunnel-ctl admin-profiles') words="list set activate delete --help" ;;
        'mcp-tunnel-ctl admin-profiles list') words="--help --json" ;;
        'mcp-tunnel-ctl admin-profiles set') words="--help --control-plane-base-url --control-plane-url-path --admin-key --activate --json" ;;
        'mcp-tunnel-ctl admin-profiles activate') words="--help --json" ;;
        'mcp-tunnel-ctl admin-profiles delete') words="--help --json" ;;
        'mcp-tunnel-ctl dev') words="proxy --help" ;;
        'mcp-tunnel-ctl dev proxy') words="--help --listen --listen-unix-socket --tunnel-id --url-file --backend --engine-queue-backend --print-json --duration --readiness-timeout --response-timeout --client-last-seen-timeout --mcp.server-url --mcp.command --profile --profile-file --profile-dir --health.listen-addr --health.url-file" ;;
        'mcp-tunnel-ctl help') words="--help" ;;
    esac
    mapfile -t COMPREPLY < <(compgen -W "$words" -- "$cur")
}
complete -F _mcp_tunnel_ctl mcp-tunnel-ctl
