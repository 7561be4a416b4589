# fish completion for mcp-tunnel-relay. Made from the help of mcp-tunnel-relay; see tests/tools/documents/.

complete -c mcp-tunnel-relay -f
complete -c mcp-tunnel-relay -s h -l help -d Help
complete -c mcp-tunnel-relay -s V -l version -d Version
complete -c mcp-tunnel-relay -n 'not __fish_seen_subcommand_from serve' -a serve -d 'Serve MCP clients and daemons'
complete -c mcp-tunnel-relay -n '__fish_seen_subcommand_from serve' -l listen -x -d 'IP:PORT, localhost:PORT or unix:PATH'
complete -c mcp-tunnel-relay -n '__fish_seen_subcommand_from serve' -l behind-tls-proxy -d 'a proxy in front speaks TLS: allow other addresses than loopback'
complete -c mcp-tunnel-relay -n '__fish_seen_subcommand_from serve' -l public-url -x -d 'how clients reach the relay, for instance https://relay.example'
complete -c mcp-tunnel-relay -n '__fish_seen_subcommand_from serve' -l allowed-host -x -d 'one more value of `Host` that is served'
complete -c mcp-tunnel-relay -n '__fish_seen_subcommand_from serve' -l allowed-origin -x -d 'a web page that may call, for instance https://app.example'
complete -c mcp-tunnel-relay -n '__fish_seen_subcommand_from serve' -l url-file -r -F -d 'write the URL there while listening'
complete -c mcp-tunnel-relay -n '__fish_seen_subcommand_from serve' -l tunnel-id -x -d 'a tunnel'
complete -c mcp-tunnel-relay -n '__fish_seen_subcommand_from serve' -l runtime-key -x -d 'what its daemon presents'
complete -c mcp-tunnel-relay -n '__fish_seen_subcommand_from serve' -l connector-key -x -d 'what its MCP clients present, in the header X-Tunnel-Connector-Key or as bearer token'
complete -c mcp-tunnel-relay -n '__fish_seen_subcommand_from serve' -l name -x -d 'a name for the daemon\'s log'
complete -c mcp-tunnel-relay -n '__fish_seen_subcommand_from serve' -l admin-key -x -d 'opens /v1/tunnels and /relay/v1/keys, on loopback only'
complete -c mcp-tunnel-relay -n '__fish_seen_subcommand_from serve' -l dev -d 'make a tunnel and a runtime key, and print how to use them'
complete -c mcp-tunnel-relay -n '__fish_seen_subcommand_from serve' -l response-timeout -x -d 'what a daemon has for an answer'
complete -c mcp-tunnel-relay -n '__fish_seen_subcommand_from serve' -l pickup-timeout -x -d 'how long a command waits for a daemon'
complete -c mcp-tunnel-relay -n '__fish_seen_subcommand_from serve' -l deliver-grace -x -d 'more time for the way back'
complete -c mcp-tunnel-relay -n '__fish_seen_subcommand_from serve' -l client-last-seen -x -d 'a daemon counts as connected so long'
complete -c mcp-tunnel-relay -n '__fish_seen_subcommand_from serve' -l warm-up -x -d 'after a start, wait for daemons'
complete -c mcp-tunnel-relay -n '__fish_seen_subcommand_from serve' -l sse-commit-after -x -d 'open an event stream without news'
complete -c mcp-tunnel-relay -n '__fish_seen_subcommand_from serve' -l sse-keepalive -x -d 'comment on a quiet event stream'
complete -c mcp-tunnel-relay -n '__fish_seen_subcommand_from serve' -l drain-timeout -x -d 'let calls finish after SIGTERM'
complete -c mcp-tunnel-relay -n '__fish_seen_subcommand_from serve' -l log-level -x -a 'error warn info debug' -d 'error, warn, info or debug'
complete -c mcp-tunnel-relay -n '__fish_seen_subcommand_from serve' -l no-confinement -d 'keep the rights that the relay does not need'
