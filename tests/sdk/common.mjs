// What the TypeScript SDK clients of both eras do in the same way. `steps` makes their common
// steps of `call(session, name, args, options)`, which calls a tool and gives its result.

export const MIB = 1024 * 1024;
export const LONG = 'trigger-long-running-operation';
// What the tools of `server.py` are called with.
export const ARGUMENTS = {
    echo: { message: 'hello' },
    'get-sum': { a: 2, b: 3 },
    [LONG]: { duration: 0.1, steps: 2 },
    counts: {},
    big: { size: 100 },
    'in-region': { region: 'eu' },
    'change-tools': {},
};
// Called where it belongs, not in the round of all tools.
export const ELSEWHERE = ['fail', 'die', 'ask-for-name'];

export function check(condition, what) {
    if (!condition) {
        throw new Error(typeof what === 'string' ? what : JSON.stringify(what));
    }
}

export const textOf = (result) =>
    result.content.filter((c) => c.type === 'text').map((c) => c.text).join('');

export const range = (from, to) => Array.from({ length: to - from + 1 }, (_, i) => from + i);

export const steps = (call) => {
    async function reportsEachStep(session, args, said) {
        const seen = [];
        const onprogress = ({ progress, total }) => seen.push([progress, total]);
        const result = await call(session, LONG, args, { onprogress });
        check(textOf(result).includes(said), { args, result });
        const expected = range(1, args.steps).map((n) => [n, args.steps]);
        check(JSON.stringify(seen) === JSON.stringify(expected), { args, seen });
    }

    async function progress(session) {
        await reportsEachStep(session, { duration: 0.5, steps: 10 }, 'completed');
    }

    // More calls are cancelled at once than the tunnel has workers; the next call must go through.
    async function cancelMany(session) {
        const stops = range(1, 12).map(() => new AbortController());
        let running = 0;
        let tenRun;
        const started = new Promise((resolve) => { tenRun = resolve; });
        const calls = stops.map(({ signal }) =>
            call(session, LONG, { duration: 3000, steps: 30000 }, {
                signal,
                onprogress: ({ progress }) => {
                    if (progress === 1 && ++running === 10) {
                        tenRun();
                    }
                },
            }).then(
                (result) => check(false, { 'a cancelled call ended': result }),
                (error) => check(/no longer wanted/.test(error.message ?? error), String(error)),
            ),
        );
        await started;
        stops.forEach((stop) => stop.abort('no longer wanted'));
        await Promise.all(calls);
        // Long before the cancelled calls would have ended by themselves.
        const next = await call(session, 'echo', { message: 'next' }, { timeout: 15_000 });
        check(textOf(next) === 'Echo: next', next);
    }

    async function echoMebibytes(session) {
        for (const message of ['Zürich 🌍 \u2028 \\ " '.repeat(MIB / 16), 'a'.repeat(MIB)]) {
            const result = await call(session, 'echo', { message });
            check(textOf(result) === 'Echo: ' + message, '1 MiB came back changed');
        }
    }

    async function getSixteenMebibytes(session) {
        const text = textOf(await call(session, 'big', { size: 16 * MIB }));
        check(text === '0123456789abcdef'.repeat(MIB), `16 MiB became ${text.length}`);
        return { bytes: text.length };
    }

    // 50 calls at once from 5 sessions: each gets its own answer and its own progress.
    async function callFifty(connect, disconnect) {
        let answered = 0;
        const oneCall = async (session, number) => {
            if (number % 2) {
                const result = await call(session, 'get-sum', { a: number, b: 1000 });
                check(textOf(result).includes(` is ${number + 1000}.`), { number, result });
            } else {
                const count = 2 + (number % 7);
                await reportsEachStep(session, { duration: 0.2, steps: count }, `Steps: ${count}.`);
            }
            answered += 1;
        };
        const sessions = await Promise.all(range(1, 5).map(connect));
        await Promise.all(
            sessions.flatMap((session, index) =>
                range(0, 9).map((n) => oneCall(session, index * 10 + n)),
            ),
        );
        await Promise.all(sessions.map(disconnect));
        check(answered === 50, `${answered} of 50 answered`);
    }

    return { progress, cancelMany, echoMebibytes, getSixteenMebibytes, callFifty };
};

// Takes the steps in one session, and says so: one JSON line each.
export async function run(chosen, connect, disconnect) {
    let step = { name: 'connect' };
    try {
        const session = await connect();
        for (step of chosen) {
            const begin = performance.now();
            const detail = await step(session);
            const ms = Math.round(performance.now() - begin);
            console.log(JSON.stringify({ step: step.name, ms, ...detail }));
        }
        step = { name: 'disconnect' };
        await disconnect(session);
    } catch (error) {
        console.log(JSON.stringify({ step: step.name, failed: String(error).slice(0, 2000) }));
        console.error(error);
        process.exit(1);
    }
}
