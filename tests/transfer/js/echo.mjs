// A peer of another implementation: `node echo.mjs listen` echoes and prints its address; `node echo.mjs dial ADDRESS
// BYTES` sends so many bytes, compares what comes back, and prints "same".
import { createHash, randomBytes } from 'node:crypto'

// What js-libp2p expects and the node of Debian 12 (18) lacks.
globalThis.CustomEvent ??= class extends Event {
  constructor (type, options) {
    super(type, options)
    this.detail = options?.detail ?? null
  }
}
Promise.withResolvers ??= function () {
  const deferred = {}
  deferred.promise = new Promise((resolve, reject) => Object.assign(deferred, { resolve, reject }))
  return deferred
}

const { noise } = await import('@chainsafe/libp2p-noise')
const { yamux } = await import('@chainsafe/libp2p-yamux')
const { tcp } = await import('@libp2p/tcp')
const { multiaddr } = await import('@multiformats/multiaddr')
const { createLibp2p } = await import('libp2p')

const PROTOCOL = '/ddtp/echo/1'
const PIECE_BYTES = 1 << 20

const [, , command, address, size] = process.argv
const node = await createLibp2p({
  addresses: { listen: command === 'listen' ? ['/ip4/127.0.0.1/tcp/0'] : [] },
  transports: [tcp()],
  connectionEncrypters: [noise()],
  streamMuxers: [yamux()]
})

async function send (stream, data) {
  if (!stream.send(data)) await stream.onDrain()
}

async function echo (stream) {
  for await (const piece of stream) await send(stream, piece.subarray())
  await stream.close()
}

async function compare (stream, wanted) {
  const received = createHash('sha256')
  for await (const piece of stream) received.update(piece.subarray())
  return received.digest('hex') === wanted.digest('hex') ? 'same' : 'different'
}

if (command === 'listen') {
  await node.handle(PROTOCOL, echo)
  console.log(node.getMultiaddrs()[0].toString())
} else {
  const stream = await node.dialProtocol(multiaddr(address), PROTOCOL)
  const sent = createHash('sha256')
  const comparing = compare(stream, sent)
  for (let left = Number(size); left > 0; left -= PIECE_BYTES) {
    const piece = randomBytes(Math.min(left, PIECE_BYTES))
    sent.update(piece)
    await send(stream, piece)
  }
  await stream.close()
  console.log(await comparing)
  await node.stop()
}
