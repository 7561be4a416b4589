// Preloaded into a published HTTP server that can only be told a port number: it listens on a
// loopback port of the kernel's choice instead, and says `listening URL` on standard output.
import net from 'node:net';

const listen = net.Server.prototype.listen;
net.Server.prototype.listen = function (...args) {
    const ready = args.find((arg) => typeof arg === 'function');
    return listen.call(this, 0, '127.0.0.1', () => {
        console.log(`listening http://127.0.0.1:${this.address().port}/mcp`);
        ready?.();
    });
};
