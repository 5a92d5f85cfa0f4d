/**
 * The first SIGINT or SIGTERM ends the push in order, a second one at once; SIGHUP in order, however often it comes: a
 * terminal that closes sends several. SIGUSR1 asks for the state.
 */
export class Signals implements Disposable {
  readonly #stop = new AbortController();
  #ending: 'SIGINT' | 'SIGTERM' | undefined;
  readonly #end = (name: NodeJS.Signals) => {
    if (this.#ending !== undefined) process.exit(name === 'SIGINT' ? 130 : 143);
    this.#ending = name === 'SIGINT' ? 'SIGINT' : 'SIGTERM';
    this.#stop.abort();
  };
  readonly #hangUp = () => {
    if (this.outlivesTerminal) return;
    this.#ending ??= 'SIGTERM';
    this.#stop.abort();
  };
  readonly #tell: () => void;
  outlivesTerminal = false;

  constructor(tellState: () => void) {
    this.#tell = tellState;
    process.on('SIGINT', this.#end);
    process.on('SIGTERM', this.#end);
    process.on('SIGHUP', this.#hangUp);
    if (process.platform !== 'win32') process.on('SIGUSR1', this.#tell);
  }

  get stopped(): AbortSignal {
    return this.#stop.signal;
  }

  get exitCode(): 130 | 143 | undefined {
    if (this.#ending === undefined) return undefined;
    return this.#ending === 'SIGINT' ? 130 : 143;
  }

  [Symbol.dispose](): void {
    process.off('SIGINT', this.#end);
    process.off('SIGTERM', this.#end);
    process.off('SIGHUP', this.#hangUp);
    process.off('SIGUSR1', this.#tell);
  }
}
