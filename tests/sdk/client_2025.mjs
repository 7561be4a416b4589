// The official TypeScript SDK client of the handshake era, through every step a session can take.
//
// `client_2025.mjs URL` connects to the MCP endpoint at URL and prints one JSON line a step, then
// exits 0; the first step that fails prints what was wrong and exits 1. The server behind URL is
// `server.py`, of either era, or the npm server `@modelcontextprotocol/server-everything`. PAYLOAD_URL in the
// environment names a file that the latter can fetch: it is how it is made to answer something big.
import { gunzipSync } from 'node:zlib';
import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { StreamableHTTPClientTransport } from '@modelcontextprotocol/sdk/client/streamableHttp.js';
import { EmptyResultSchema, LATEST_PROTOCOL_VERSION, McpError } from '@modelcontextprotocol/sdk/types.js';
import * as common from './common.mjs';
import { MIB, check, range, textOf } from './common.mjs';

const url = new URL(process.argv[2]);
const payloadUrl = process.env.PAYLOAD_URL ?? '';

// What each known tool is called with. A tool that needs a capability of the client is not listed
// by either server to a client that has none; a new tool fails here until it gets a line.
const ARGUMENTS = {
    ...common.ARGUMENTS,
    'get-annotated-message': { messageType: 'success', includeImage: true },
    'get-env': {},
    'get-resource-links': { count: 3 },
    'get-resource-reference': { resourceType: 'Blob', resourceId: 2 },
    'get-structured-content': { location: 'Chicago' },
    'get-tiny-image': {},
    'gzip-file-as-resource': {
        name: 'hello.gz',
        data: 'data:text/plain,hello',
        outputType: 'resource',
    },
    'toggle-simulated-logging': {},
    'toggle-subscriber-updates': {},
};
const ELSEWHERE = new Set([...common.ELSEWHERE, 'simulate-research-query']);
const PROMPT_ARGUMENTS = {
    'args-prompt': { city: 'Oslo', state: 'Viken' },
    'completable-prompt': { department: 'Engineering', name: 'Alice' },
    'resource-prompt': { resourceType: 'Text', resourceId: '1' },
};

async function connect() {
    const client = new Client({ name: 'typescript-2025', version: '1.0.0' });
    const transport = new StreamableHTTPClientTransport(url);
    await client.connect(transport);
    return { client, transport, server: client.getServerVersion().name };
}

async function disconnect({ client, transport }) {
    await transport.terminateSession();
    await client.close();
}

// `client.callTool` with the arguments of the tool and the options of the SDK's request.
const call = ({ client }, name, args, options) =>
    client.callTool({ name, arguments: args }, undefined, { timeout: 60_000, ...options });

const { progress, cancelMany, echoMebibytes, getSixteenMebibytes, callFifty } = common.steps(call);

async function initialize({ client, transport, server }) {
    check(server, 'the server has no name');
    check(transport.protocolVersion === LATEST_PROTOCOL_VERSION, transport.protocolVersion);
    await client.ping();
    return { server, session: transport.sessionId !== undefined };
}

async function tools(session) {
    const names = (await session.client.listTools()).tools.map((tool) => tool.name);
    for (const name of names.filter((name) => !ELSEWHERE.has(name))) {
        check(name in ARGUMENTS, `no arguments known for the tool ${name}`);
        const result = await call(session, name, ARGUMENTS[name]);
        check(!result.isError && result.content.length > 0, { name, result });
    }
    check(textOf(await call(session, 'echo', { message: 'hi' })) === 'Echo: hi', 'echo');
    if (names.includes('toggle-simulated-logging')) {
        await call(session, 'toggle-simulated-logging', {});
        await call(session, 'toggle-subscriber-updates', {});
    }
    return { tools: names.length };
}

async function resources({ client }) {
    const listed = (await client.listResources()).resources;
    check(listed.length > 0, 'no resources');
    for (const { uri } of listed) {
        const { contents } = await client.readResource({ uri });
        check(contents.length > 0, `${uri} is empty`);
        if (uri === 'memo://greeting') {
            check(contents[0].text.includes('世界 \u{1f30d}\n\u2028 a line'), contents);
        }
        if (uri === 'memo://bytes') {
            const expected = Buffer.from(range(0, 255));
            check(Buffer.from(contents[0].blob, 'base64').equals(expected), 'bytes changed');
        }
    }
    const templates = (await client.listResourceTemplates()).resourceTemplates;
    check(templates.length > 0, 'no resource templates');
    for (const { uriTemplate } of templates) {
        const uri = uriTemplate.replace('{resourceId}', '1').replace('{name}', 'fjords');
        check((await client.readResource({ uri })).contents.length > 0, `${uri} is empty`);
    }
    return { resources: listed.length, templates: templates.length };
}

async function prompts({ client }) {
    const listed = (await client.listPrompts()).prompts;
    check(listed.length >= 2, 'too few prompts');
    for (const { name } of listed) {
        const got = await client.getPrompt({ name, arguments: PROMPT_ARGUMENTS[name] });
        check(got.messages.length > 0, `${name} has no messages`);
    }
    return { prompts: listed.length };
}

// An error result is a result; an error is an error; both arrive as the server made them.
async function errors(session) {
    const { client, server } = session;
    let result = await call(session, 'get-sum', { a: 'not a number' });
    check(result.isError && textOf(result), result);
    if (server.startsWith('python-')) {
        result = await call(session, 'fail', {});
        check(result.isError && textOf(result).includes(' fail'), result);
    }
    for (const request of [
        () => client.readResource({ uri: 'memo://no/such/thing' }),
        () => client.getPrompt({ name: 'no-such-prompt' }),
        () => client.request({ method: 'no/such/method' }, EmptyResultSchema),
    ]) {
        const answer = await request().catch((error) => error);
        check(answer instanceof McpError, { 'an error was expected': answer });
        check(answer.code <= 0 && !answer.data?.tunnel_failure, answer.message);
    }
}

async function cancel(session) {
    await cancelMany(session);
    if (session.server.startsWith('python-')) {
        const counts = JSON.parse(textOf(await call(session, 'counts', {})));
        check(counts.cancelled >= 10, counts);
        return counts;
    }
}

async function payloads(session) {
    await echoMebibytes(session);
    if (session.server.startsWith('python-')) {
        return getSixteenMebibytes(session);
    }
    const args = { name: 'big.gz', data: payloadUrl, outputType: 'resource' };
    const result = await call(session, 'gzip-file-as-resource', args);
    check(!result.isError, textOf(result).slice(0, 500));
    const { blob } = result.content[0].resource;
    check(blob.length >= 16 * MIB, `16 MiB became ${blob.length}`);
    const expected = Buffer.from(await (await fetch(payloadUrl)).arrayBuffer());
    check(gunzipSync(Buffer.from(blob, 'base64')).equals(expected), 'the payload changed');
    return { bytes: blob.length };
}

async function many_at_once() {
    await callFifty(connect, disconnect);
}

const steps = [
    initialize, tools, resources, prompts, progress, errors, cancel, payloads, many_at_once,
];
await common.run(steps, connect, disconnect);
