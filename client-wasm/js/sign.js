// `params.encrypt`: a member `__crypto__` with the signature of the message's JSON (spec of pomelo's option useCrypto).

const ALGORITHM = {
  name: 'RSASSA-PKCS1-v1_5', hash: 'SHA-256', modulusLength: 1024, publicExponent: new Uint8Array([1, 0, 1]),
};

const hex = (bytes) => Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('');

/** The page's own `rsa` object, which pages with `encrypt` have brought along, or else the browser's. */
export function signer() {
  return globalThis.rsa ? new PageSigner(globalThis.rsa) : new BrowserSigner();
}

class PageSigner {
  constructor(rsa) {
    this.rsa = rsa;
    rsa.generate(1024, '10001');
    this.key = { rsa_n: rsa.n.toString(16), rsa_e: rsa.e };
  }

  sign(msg, done) {
    const text = JSON.stringify(msg);
    done({ ...JSON.parse(text), __crypto__: this.rsa.signString(text, 'sha256') });
  }
}

class BrowserSigner {
  /** Signing takes a while, and messages must stay in order. */
  #last = Promise.resolve();

  constructor() {
    const { subtle } = globalThis.crypto;
    this.pair = subtle
      ? subtle.generateKey(ALGORITHM, true, ['sign', 'verify'])
      : Promise.reject(new Error('encrypt needs a secure context (https) or the rsa script of old pages'));
    this.key = this.pair.then(({ publicKey }) => subtle.exportKey('jwk', publicKey)).then(({ n }) => ({
      rsa_n: hex(Uint8Array.from(atob(n.replace(/-/g, '+').replace(/_/g, '/')), (unit) => unit.charCodeAt(0))),
      rsa_e: 65537,
    }));
    // Who waits for it hears of the failure.
    this.key.catch(() => {});
  }

  sign(msg, done, failed) {
    // As it is now: the page may change the object while the signature is made.
    const text = JSON.stringify(msg);
    this.#last = this.#last.then(async () => {
      const { privateKey } = await this.pair;
      const signature = await crypto.subtle.sign(ALGORITHM, privateKey, signed(text));
      done({ ...JSON.parse(text), __crypto__: hex(new Uint8Array(signature)) });
    }).catch(failed);
  }
}

/** A server of pomelo takes the UTF-8 of a text with Chinese characters for Latin-1, and signs the UTF-8 of that. */
function signed(text) {
  const bytes = new TextEncoder().encode(text);
  return /[\u4e00-\u9fa5]/.test(text) ? new TextEncoder().encode(Array.from(bytes, (byte) => String.fromCharCode(byte)).join('')) : bytes;
}
