# bash completion for mcp-tunnel. Made from the tables of commands and settings; see tests/tools/documents/.

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
            'mcp-tunnel doctor') path='mcp-tunnel doctor' ;;
            'mcp-tunnel health') path='mcp-tunnel health' ;;
            'mcp-tunnel init') path='mcp-tunnel init' ;;
            'mcp-tunnel help') path='mcp-tunnel help' ;;
            'mcp-tunnel mcp-stub') path='mcp-tunnel mcp-stub' ;;
            'mcp-tunnel dev') path='mcp-tunnel dev' ;;
            'mcp-tunnel dev mcp-stub') path='mcp-tunnel dev mcp-stub' ;;
            'mcp-tunnel dev proxy') path='mcp-tunnel dev proxy' ;;
            'mcp-tunnel top') path='mcp-tunnel top' ;;
            'mcp-tunnel profiles') path='mcp-tunnel profiles' ;;
            'mcp-tunnel profiles list') path='mcp-tunnel profiles list' ;;
            'mcp-tunnel profiles add') path='mcp-tunnel profiles add' ;;
            'mcp-tunnel profiles edit') path='mcp-tunnel profiles edit' ;;
            'mcp-tunnel profiles show') path='mcp-tunnel profiles show' ;;
            'mcp-tunnel profiles validate') path='mcp-tunnel profiles validate' ;;
            'mcp-tunnel profiles rm') path='mcp-tunnel profiles rm' ;;
            'mcp-tunnel profiles samples') path='mcp-tunnel profiles samples' ;;
            'mcp-tunnel profiles samples list') path='mcp-tunnel profiles samples list' ;;
            'mcp-tunnel profiles samples show') path='mcp-tunnel profiles samples show' ;;
            'mcp-tunnel admin') path='mcp-tunnel admin' ;;
            'mcp-tunnel admin tunnels') path='mcp-tunnel admin tunnels' ;;
            'mcp-tunnel admin tunnels create') path='mcp-tunnel admin tunnels create' ;;
            'mcp-tunnel admin tunnels get') path='mcp-tunnel admin tunnels get' ;;
            'mcp-tunnel admin tunnels list') path='mcp-tunnel admin tunnels list' ;;
            'mcp-tunnel admin tunnels update') path='mcp-tunnel admin tunnels update' ;;
            'mcp-tunnel admin tunnels delete') path='mcp-tunnel admin tunnels delete' ;;
            'mcp-tunnel runtimes') path='mcp-tunnel runtimes' ;;
            'mcp-tunnel runtimes create') path='mcp-tunnel runtimes create' ;;
            'mcp-tunnel runtimes connect') path='mcp-tunnel runtimes connect' ;;
            'mcp-tunnel runtimes list') path='mcp-tunnel runtimes list' ;;
            'mcp-tunnel runtimes status') path='mcp-tunnel runtimes status' ;;
            'mcp-tunnel runtimes stop') path='mcp-tunnel runtimes stop' ;;
            'mcp-tunnel runtimes rm') path='mcp-tunnel runtimes rm' ;;
            'mcp-tunnel runtimes cleanup') path='mcp-tunnel runtimes cleanup' ;;
            'mcp-tunnel admin-profiles') path='mcp-tunnel admin-profiles' ;;
            'mcp-tunnel admin-profiles list') path='mcp-tunnel admin-profiles list' ;;
            'mcp-tunnel admin-profiles set') path='mcp-tunnel admin-profiles set' ;;
            'mcp-tunnel admin-profiles activate') path='mcp-tunnel admin-profiles activate' ;;
            'mcp-tunnel admin-profiles delete') path='mcp-tunnel admin-profiles delete' ;;
        esac
    done
    COMPREPLY=()
    case "$prev" in
        --embedded-mcp-listen-addr | \
        --embedded-mcp-server-name | \
        --embedded-mcp-server-version | \
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
        --url | \
        --port | \
        --pid | \
        --max-poll-age | \
        --tunnel-id | \
        --sample | \
        --mcp-server-url | \
        --mcp-command | \
        --control-plane-base-url | \
        --control-plane-api-key-ref | \
        --health-listen-addr | \
        --listen | \
        --backend | \
        --engine-queue-backend | \
        --duration | \
        --readiness-timeout | \
        --response-timeout | \
        --client-last-seen-timeout | \
        --name | \
        --description | \
        --organization-id | \
        --workspace-id | \
        --admin-key | \
        --tenant-id | \
        --alias | \
        --admin-profile | \
        --runtime-api-key)
            :
            return
            ;;
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
        --url-file | \
        --unix-socket | \
        --pid-file | \
        --output | \
        --control-plane-url-path | \
        --listen-unix-socket | \
        --from-file | \
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
        'mcp-tunnel') words="run config doctor health init help mcp-stub dev top profiles admin runtimes admin-profiles --help" ;;
        'mcp-tunnel run') words="--help --embedded-mcp-stub --embedded-mcp-listen-addr --embedded-mcp-server-name --embedded-mcp-server-version $settings" ;;
        'mcp-tunnel config') words="check show --help" ;;
        'mcp-tunnel config check') words="--help --json $settings" ;;
        'mcp-tunnel config show') words="--help --json $settings" ;;
        'mcp-tunnel doctor') words="--help --explain --json $settings" ;;
        'mcp-tunnel health') words="--help --url --url-file --port --unix-socket --pid --pid-file --require-control-plane-poll --max-poll-age --json $settings" ;;
        'mcp-tunnel init') words="--help --tunnel-id --sample --mcp-server-url --mcp-command --output --profile --profile-dir --force --control-plane-base-url --control-plane-url-path --control-plane-api-key-ref --health-listen-addr --open-web-ui --json" ;;
        'mcp-tunnel help') words="--help" ;;
        'mcp-tunnel mcp-stub') words="--help" ;;
        'mcp-tunnel dev') words="mcp-stub proxy --help" ;;
        'mcp-tunnel dev mcp-stub') words="--help" ;;
        'mcp-tunnel dev proxy') words="--help --listen --listen-unix-socket --tunnel-id --url-file --backend --engine-queue-backend --print-json --duration --readiness-timeout --response-timeout --client-last-seen-timeout --mcp.server-url --mcp.command --profile --profile-file --profile-dir --health.listen-addr --health.url-file" ;;
        'mcp-tunnel top') words="--help --url --url-file --port --unix-socket --once $settings" ;;
        'mcp-tunnel profiles') words="list add edit show validate rm samples --help" ;;
        'mcp-tunnel profiles list') words="--help --profile-dir --json" ;;
        'mcp-tunnel profiles add') words="--help --from-file --sample --tunnel-id --mcp-server-url --mcp-command --control-plane-base-url --control-plane-url-path --control-plane-api-key-ref --health-listen-addr --force --profile-dir" ;;
        'mcp-tunnel profiles edit') words="--help --profile-dir" ;;
        'mcp-tunnel profiles show') words="--help --profile-dir" ;;
        'mcp-tunnel profiles validate') words="--help --profile-dir" ;;
        'mcp-tunnel profiles rm') words="--help --profile-dir" ;;
        'mcp-tunnel profiles samples') words="list show --help" ;;
        'mcp-tunnel profiles samples list') words="--help" ;;
        'mcp-tunnel profiles samples show') words="--help" ;;
        'mcp-tunnel admin') words="tunnels --help" ;;
        'mcp-tunnel admin tunnels') words="create get list update delete --help" ;;
        'mcp-tunnel admin tunnels create') words="--help --name --description --organization-id --workspace-id --admin-key --json --ca-bundle --control-plane.base-url --control-plane.url-path" ;;
        'mcp-tunnel admin tunnels get') words="--help --admin-key --json --ca-bundle --control-plane.base-url --control-plane.url-path" ;;
        'mcp-tunnel admin tunnels list') words="--help --organization-id --workspace-id --tenant-id --admin-key --json --ca-bundle --control-plane.base-url --control-plane.url-path" ;;
        'mcp-tunnel admin tunnels update') words="--help --name --description --organization-id --workspace-id --admin-key --json --ca-bundle --control-plane.base-url --control-plane.url-path" ;;
        'mcp-tunnel admin tunnels delete') words="--help --confirm --admin-key --json --ca-bundle --control-plane.base-url --control-plane.url-path" ;;
        'mcp-tunnel runtimes') words="create connect list status stop rm cleanup --help" ;;
        'mcp-tunnel runtimes create') words="--help --alias --name --description --organization-id --workspace-id --admin-profile --admin-key --control-plane-base-url --control-plane-url-path --profile-dir --json --ca-bundle" ;;
        'mcp-tunnel runtimes connect') words="--help --alias --tunnel-id --mcp-server-url --mcp-command --runtime-api-key --force --profile-dir --json" ;;
        'mcp-tunnel runtimes list') words="--help --profile-dir --json" ;;
        'mcp-tunnel runtimes status') words="--help --profile-dir --json" ;;
        'mcp-tunnel runtimes stop') words="--help --profile-dir --json" ;;
        'mcp-tunnel runtimes rm') words="--help --profile-dir --json" ;;
        'mcp-tunnel runtimes cleanup') words="--help --apply --profile-dir --json" ;;
        'mcp-tunnel admin-profiles') words="list set activate delete --help" ;;
        'mcp-tunnel admin-profiles list') words="--help --json" ;;
        'mcp-tunnel admin-profiles set') words="--help --control-plane-base-url --control-plane-url-path --admin-key --activate --json" ;;
        'mcp-tunnel admin-profiles activate') words="--help --json" ;;
        'mcp-tunnel admin-profiles delete') words="--help --json" ;;
    esac
    mapfile -t COMPREPLY < <(compgen -W "$words" -- "$cur")
}
complete -F _mcp_tunnel mcp-tunnel
