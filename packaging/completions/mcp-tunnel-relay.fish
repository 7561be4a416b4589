# fish completion for mcp-tunnel-relay. Made from the help of mcp-tunnel-relay; see tests/tools/documents/.

complete -c mcp-tunnel-relay -f
complete -c mcp-tunnel-relay -s h -l help -d Help
complete -c mcp-tunnel-relay -s V -l version -d Version
complete -c mcp-tunnel-relay -n 'not __fish_seen_subcommand_from serve' -a serve -d 'Serve MCP clients and daemons'
complete -c mcp-tunnel-relay -n '__fish_seen_subcommand_from serve' -l listen -x -d 'IP:PORT, localhost:PORT or unix:PATH'
complete -c mcp-tunnel-relay -n '__fish_seen_subcommand_from serve' -l behind-tls-proxy -d 'a proxy in front speaks TLS: allow addresses other than loopback'
complete -c mcp-tunnel-relay -n '__fish_seen_subcommand_from serve' -l public-url -x -d 'URL at which clients reach the relay, such as https://relay.example'
complete -c mcp-tunnel-relay -n '__fish_seen_subcommand_from serve' -l allowed-host -x -d 'accept this value of `Host` too'
complete -c mcp-tunnel-relay -n '__fish_seen_subcommand_from serve' -l allowed-origin -x -d 'origin of web pages that may call, such as https://app.example'
complete -c mcp-tunnel-relay -n '__fish_seen_subcommand_from serve' -l url-file -r -F -d 'write the URL to this file while listening'
complete -c mcp-tunnel-relay -n '__fish_seen_subcommand_from serve' -l tunnel-id -x -d 'a tunnel'
complete -c mcp-tunnel-relay -n '__fish_seen_subcommand_from serve' -l runtime-key -x -d 'key of its daemon'
complete -c mcp-tunnel-relay -n '__fish_seen_subcommand_from serve' -l connector-key -x -d 'key of its MCP clients, sent in the header X-Tunnel-Connector-Key or as bearer token'
complete -c mcp-tunnel-relay -n '__fish_seen_subcommand_from serve' -l name -x -d 'a name for the daemon\'s log'
complete -c mcp-tunnel-relay -n '__fish_seen_subcommand_from serve' -l admin-key -x -d 'key that opens /v1/tunnels and /relay/v1/keys, on loopback only'
complete -c mcp-tunnel-relay -n '__fish_seen_subcommand_from serve' -l dev -d 'create a tunnel and a runtime key, and print how to use them'
complete -c mcp-tunnel-relay -n '__fish_seen_subcommand_from serve' -l response-timeout -x -d 'time that a daemon has to answer'
complete -c mcp-tunnel-relay -n '__fish_seen_subcommand_from serve' -l pickup-timeout -x -d 'how long a command waits for a daemon'
complete -c mcp-tunnel-relay -n '__fish_seen_subcommand_from serve' -l deliver-grace -x -d 'extra time for the answer\'s way back'
complete -c mcp-tunnel-relay -n '__fish_seen_subcommand_from serve' -l client-last-seen -x -d 'silence after which a daemon is gone'
complete -c mcp-tunnel-relay -n '__fish_seen_subcommand_from serve' -l warm-up -x -d 'time for daemons to connect at start'
complete -c mcp-tunnel-relay -n '__fish_seen_subcommand_from serve' -l sse-commit-after -x -d 'open the event stream without news'
complete -c mcp-tunnel-relay -n '__fish_seen_subcommand_from serve' -l sse-keepalive -x -d 'interval of comments on quiet streams'
complete -c mcp-tunnel-relay -n '__fish_seen_subcommand_from serve' -l drain-timeout -x -d 'time for calls to end after SIGTERM'
complete -c mcp-tunnel-relay -n '__fish_seen_subcommand_from serve' -l log-level -x -a 'error warn info debug' -d 'error, warn, info or debug'
complete -c mcp-tunnel-relay -n '__fish_seen_subcommand_from serve' -l no-confinement -d 'keep rights that the relay does not need'
