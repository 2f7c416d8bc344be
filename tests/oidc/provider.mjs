// A provider of OpenID Connect (oidc-provider, certified by the OpenID Foundation) for tests.
// node provider.mjs FOLDER_OF_NODE_MODULES PORT CALLBACK: new keys at each start.
import { generateKeyPairSync, randomUUID } from 'node:crypto';
import { createRequire } from 'node:module';
import { pathToFileURL } from 'node:url';

const [folder, port, callback] = process.argv.slice(2);
const found = createRequire(pathToFileURL(`${folder}/`)).resolve('oidc-provider');
const { default: Provider } = await import(pathToFileURL(found));

const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
const key = { ...privateKey.export({ format: 'jwk' }), kid: randomUUID(), use: 'sig', alg: 'RS256' };
const groups = { anna: ['pacs-admins', 'readers'], karl: ['readers'], otto: ['kitchen'] };

const provider = new Provider(`http://127.0.0.1:${port}`, {
  clients: [{
    client_id: 'gatekeeper',
    client_secret: 'a secret: 100% & more',
    redirect_uris: [callback],
    grant_types: ['authorization_code'],
    response_types: ['code'],
  }],
  jwks: { keys: [key] },
  cookies: { keys: [randomUUID()] },
  claims: { openid: ['sub'], profile: ['preferred_username'], groups: ['groups'] },
  scopes: ['openid', 'profile', 'groups'],
  conformIdTokenClaims: false,
  pkce: { required: () => true },
  findAccount: (_context, id) => ({
    accountId: id,
    claims: () => ({ sub: id, preferred_username: id, groups: groups[id] ?? [] }),
  }),
});
provider.listen(Number(port), '127.0.0.1', () => console.log('ready'));
