// component-emitter 1.2.1's API, as pages know it, but a listener that throws does not keep the others from hearing.

export class Emitter {
  #entries = new Map();

  #add(event, entry) {
    // A new list each time: an `emit` that runs goes on over the old one.
    this.#entries.set(event, [...(this.#entries.get(event) ?? []), entry]);
    return this;
  }

  on(event, fn) {
    return this.#add(event, { fn, once: false });
  }

  once(event, fn) {
    return this.#add(event, { fn, once: true });
  }

  /** Without arguments all listeners go, without a function all of the event. */
  off(...args) {
    const [event, fn] = args;
    if (args.length === 0) {
      this.#entries.clear();
    } else if (args.length === 1) {
      this.#entries.delete(event);
    } else {
      const entries = this.#entries.get(event) ?? [];
      const index = entries.findIndex((entry) => entry.fn === fn);
      if (index >= 0) this.#entries.set(event, entries.filter((_, place) => place !== index));
    }
    return this;
  }

  emit(event, ...args) {
    for (const entry of this.#entries.get(event) ?? []) {
      if (entry.once) this.#entries.set(event, this.#entries.get(event).filter((other) => other !== entry));
      call(entry.fn, this, args);
    }
    return this;
  }

  listeners(event) {
    return (this.#entries.get(event) ?? []).map(({ fn }) => fn);
  }

  hasListeners(event) {
    return this.listeners(event).length > 0;
  }
}

for (const [name, alias] of [
  ['on', 'addEventListener'], ['on', 'addListener'], ['off', 'removeListener'], ['off', 'removeAllListeners'],
  ['off', 'removeEventListener'],
]) {
  Emitter.prototype[alias] = Emitter.prototype[name];
}

/** A mistake in a callback is the page's: it is reported like any other, and none of the client's business. */
export function call(fn, self, args) {
  try {
    return fn.apply(self, args);
  } catch (error) {
    setTimeout(() => { throw error; });
    return undefined;
  }
}
