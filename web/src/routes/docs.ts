/** The API's page: the server's own OpenAPI document in Swagger UI, with its key if it asks for one. */
import SwaggerUI from 'swagger-ui-dist/swagger-ui-es-bundle.js';
import 'swagger-ui-dist/swagger-ui.css';
import { authorization, setKey } from '../services/key-storage';

async function load(): Promise<object> {
  for (;;) {
    const reply = await fetch('/openapi.json', { headers: authorization() });
    if (reply.ok) return (await reply.json()) as object;
    if (reply.status !== 401) throw new Error(`/openapi.json: ${reply.status}`);
    const key = prompt('This server asks for its API key.');
    if (key === null) throw new Error('Without its key the server does not show its API.');
    setKey(key);
  }
}

const place = document.getElementById('docs');
try {
  SwaggerUI({
    domNode: place,
    spec: await load(),
    defaultModelsExpandDepth: 0,
    tryItOutEnabled: true,
    requestInterceptor: (request: { headers: Record<string, string> }) => {
      request.headers = { ...authorization(), ...request.headers };
      return request;
    },
  });
} catch (error) {
  if (place) place.textContent = String(error);
}
