// The official TypeScript SDK client at a server that OAuth protects (`oauth_server.py`).
//
// `oauth_client.mjs URL` connects to the MCP endpoint at URL with a token that it gets as its SDK
// does, and prints one JSON line a step, then exits 0; the first step that fails ends it with 1.
import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { UnauthorizedError } from '@modelcontextprotocol/sdk/client/auth.js';
import { StreamableHTTPClientTransport } from '@modelcontextprotocol/sdk/client/streamableHttp.js';

const url = new URL(process.argv[2]);
const CALLBACK = 'http://127.0.0.1:1/callback';

function check(condition, what) {
    if (!condition) throw new Error(JSON.stringify(what));
}

// What a person would do with the browser, and what an application would keep.
const provider = {
    redirectUrl: CALLBACK,
    clientMetadata: { client_name: 'test', redirect_uris: [CALLBACK], scope: 'tools' },
    clientInformation: () => provider.kept,
    saveClientInformation: (kept) => { provider.kept = kept; },
    tokens: () => provider.token,
    saveTokens: (token) => { provider.token = token; },
    saveCodeVerifier: (verifier) => { provider.verifier = verifier; },
    codeVerifier: () => provider.verifier,
    redirectToAuthorization: async (authorize) => {
        const answer = await fetch(authorize, { redirect: 'manual' });
        provider.code = new URL(answer.headers.get('location')).searchParams.get('code');
    },
};

const begin = () => ({
    client: new Client({ name: 'test', version: '1' }),
    transport: new StreamableHTTPClientTransport(url, { authProvider: provider }),
});

const first = begin();
try {
    await first.client.connect(first.transport);
    throw new Error('connected without a token');
} catch (error) {
    check(error instanceof UnauthorizedError, String(error.stack));
}
console.log(JSON.stringify({ step: 'refused' }));
await first.transport.finishAuth(provider.code);
console.log(JSON.stringify({ step: 'authorized' }));

const second = begin();
await second.client.connect(second.transport);
const result = await second.client.callTool({ name: 'whoami', arguments: {} });
check(result.content[0].text === url.href, result);
await second.client.close();
console.log(JSON.stringify({ step: 'called' }));
