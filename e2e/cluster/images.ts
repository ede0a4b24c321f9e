// The images that the cluster runs: pause, ours, and one with psql for agents. Without an engine and without a registry:
// mmdebstrap makes root file systems of Debian's packages, buildah images of them.
import { copyFileSync, existsSync, mkdirSync, readFileSync, realpathSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Scope } from '../scope.ts'
import { BIN, BUILD } from './parts.ts'

const ROOT = join(import.meta.dirname, '../..')
export const IMAGES = join(BUILD, 'images')
export const OUR_IMAGE = 'localhost/agentaccess:e2e'
export const CLIENT_IMAGE = 'localhost/client:e2e'

export const CLIENT_PACKAGES = 'ca-certificates,libstdc++6,postgresql-client-15,curl,python3-minimal'

interface Image {
  name: string
  file: string
  /** What it is made of: built again where that is another. */
  version: string
  /** Returns the folder and Dockerfile to build. */
  context: () => Promise<{ folder: string; args?: string[] }>
}

/** Builds the images that are not there, as archives in build/cluster/images. Ours always: it is what is tested. */
export async function ensureImages(scope: Scope, say: (line: string) => void): Promise<void> {
  mkdirSync(IMAGES, { recursive: true })
  const run = async (program: string, args: string[], cwd = ROOT) => {
    const { code, stdout, stderr } = await scope.run(program, args, { cwd })
    if (code !== 0) throw new Error(`${program} ${args.join(' ')} failed:\n${(stdout + stderr).slice(-2000)}`)
  }
  const rootfs = async (folder: string, packages: string) => {
    rmSync(folder, { recursive: true, force: true })
    mkdirSync(folder, { recursive: true })
    await run('mmdebstrap', ['--variant=minbase', `--include=${packages}`, 'bookworm', join(folder, 'rootfs.tar')])
    return folder
  }
  const node = realpathSync(join(ROOT, 'node_modules/node/bin/node'))
  const images: Image[] = [
    {
      name: 'localhost/pause:1',
      file: 'pause.tar',
      version: '1',
      context: async () => {
        const folder = join(IMAGES, 'pause')
        mkdirSync(folder, { recursive: true })
        copyFileSync(join(BIN, 'pause'), join(folder, 'pause'))
        writeFileSync(join(folder, 'Dockerfile'), 'FROM scratch\nCOPY pause /pause\nENTRYPOINT ["/pause"]\n')
        return { folder }
      },
    },
    {
      name: 'localhost/base:1',
      file: 'base.tar',
      version: `ca-certificates ${process.version}`,
      context: async () => {
        const folder = await rootfs(join(IMAGES, 'base'), 'ca-certificates,libstdc++6')
        copyFileSync(node, join(folder, 'node'))
        writeFileSync(join(folder, 'Dockerfile'), 'FROM scratch\nADD rootfs.tar /\nCOPY node /usr/local/bin/node\n')
        return { folder }
      },
    },
    {
      name: CLIENT_IMAGE,
      file: 'client.tar',
      version: CLIENT_PACKAGES,
      context: async () => {
        const folder = await rootfs(join(IMAGES, 'client'), CLIENT_PACKAGES)
        writeFileSync(join(folder, 'Dockerfile'), 'FROM scratch\nADD rootfs.tar /\nCMD ["sleep", "infinity"]\n')
        return { folder }
      },
    },
    {
      name: OUR_IMAGE,
      file: 'agentaccess.tar',
      version: '',
      context: async () => {
        await run('node', ['--disable-warning=ExperimentalWarning', 'scripts/bundle.ts'])
        return { folder: ROOT, args: ['--build-arg', 'BASE_IMAGE=localhost/base:1', '--build-arg', 'BUNDLE=prebuilt'] }
      },
    },
  ]
  for (const { name, file, version, context } of images) {
    const archive = join(IMAGES, file)
    const stamp = `${archive}.version`
    if (version !== '' && existsSync(archive) && existsSync(stamp) && readFileSync(stamp, 'utf8') === version) continue
    say(`building image ${name}`)
    const { folder, args = [] } = await context()
    rmSync(archive, { force: true })
    // vfs, chroot: no overlay on an overlay, no rights that a container lacks.
    const storage = ['--storage-driver', 'vfs', '--root', join(BUILD, 'buildah'), '--runroot', join(BUILD, 'buildah-run')]
    await run('buildah', [...storage, 'bud', '--isolation', 'chroot', '--format', 'docker', '--pull-never', ...args, '-t', name, folder])
    await run('buildah', [...storage, 'push', name, `docker-archive:${archive}:${name}`])
    // What the name stood for before, and what a build that was interrupted left; not worth failing for.
    await scope.run('buildah', [...storage, 'rm', '--all'])
    await scope.run('buildah', [...storage, 'rmi', '--prune'])
    writeFileSync(stamp, version)
  }
}
