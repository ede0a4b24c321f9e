// AgentAccess on a real cluster, as a platform team and its agents see it. One installation, one scenario after the other.
import { after, before, describe } from 'node:test'
import { Scope } from '../scope.ts'
import { install, type Installation } from './installation.ts'
import { changes } from './scenarios/changes.ts'
import { faults } from './scenarios/faults.ts'
import { identity } from './scenarios/identity.ts'
import { kubernetes } from './scenarios/kubernetes.ts'
import { lifecycle } from './scenarios/lifecycle.ts'
import { outside } from './scenarios/outside.ts'
import { protection } from './scenarios/protection.ts'

const scope = new Scope('operator')
let installation: Installation
const installed = () => installation

describe('on a cluster', { timeout: 1_500_000 }, () => {
  before(async () => {
    installation = await install(scope)
  })
  after(async () => {
    await scope.close()
  })

  describe('identity', () => identity(installed))
  describe('changes', () => changes(installed))
  describe('protection', () => protection(installed))
  describe('outside', () => outside())
  describe('faults', () => faults(installed))
  // Behind what reads all evidence again and again: streams are large.
  describe('kubernetes', () => kubernetes(installed))
  describe('lifecycle', () => lifecycle(installed))
})
