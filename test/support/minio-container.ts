import { fileURLToPath } from 'node:url';
import { GenericContainer, getContainerRuntimeClient, Wait } from 'testcontainers';
import type { StartedStore } from './stores.ts';

const context = fileURLToPath(new URL('../../infra/minio', import.meta.url));
const port = 9000;

export async function hasContainerEngine(): Promise<boolean> {
  return getContainerRuntimeClient().then(
    () => true,
    () => false,
  );
}

/** MinIO in a container, from an image that is built of its source; the engine keeps it for the next time. */
export async function startMinioContainer(credentials: {
  readonly accessKeyId: string;
  readonly secretAccessKey: string;
}): Promise<StartedStore> {
  const image = await GenericContainer.fromDockerfile(context).build('partway-minio', { deleteOnExit: false });
  const container = await image
    .withEnvironment({
      MINIO_ROOT_USER: credentials.accessKeyId,
      MINIO_ROOT_PASSWORD: credentials.secretAccessKey,
      MINIO_BROWSER: 'off',
    })
    .withExposedPorts(port)
    // The image has no shell, which the default wait would run in it.
    .withWaitStrategy(Wait.forHttp('/minio/health/ready', port))
    .start();
  return {
    name: 'minio',
    endpoint: `http://${container.getHost()}:${container.getMappedPort(port)}`,
    ...credentials,
    async stop() {
      await container.stop();
    },
  };
}
