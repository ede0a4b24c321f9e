// What a request is about, as the API server finds it; which paths are let through; how answers are counted.
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { apiPath } from '../protocols/kubernetes/api-path.ts'
import { readBody } from '../protocols/kubernetes/body.ts'
import { builtInDeny } from '../protocols/kubernetes/built-in-denies.ts'
import { commandVerb, requestInfo } from '../protocols/kubernetes/request-info.ts'
import { ResponseReader } from '../protocols/kubernetes/response-reader.ts'
import { parseStrictJson } from '../protocols/kubernetes/strict-json.ts'

function about(method: string, url: string) {
  const path = apiPath(url)
  assert.ok('path' in path, url)
  return requestInfo(method, path.path, path.query)
}
const short = (method: string, url: string) => {
  const info = about(method, url)
  return [commandVerb(info), info.group, info.resource, info.subresource, info.namespace, info.name].join(' ')
}

describe('requests of the Kubernetes protocol', () => {
  test('verb, group, resource and name', () => {
    const expected: [string, string, string][] = [
      ['GET', '/api/v1/pods', 'list  pods   '],
      ['GET', '/api/v1/pods?watch=true', 'watch  pods   '],
      ['GET', '/api/v1/pods?watch=FALSE', 'list  pods   '],
      ['GET', '/api/v1/pods?watch=', 'watch  pods   '],
      ['GET', '/api/v1/watch/namespaces/a/pods/p', 'watch  pods  a p'],
      ['GET', '/api/v1/namespaces', 'list  namespaces   '],
      ['GET', '/api/v1/namespaces/a', 'get  namespaces  a a'],
      ['PUT', '/api/v1/namespaces/a/finalize', 'update  namespaces finalize a a'],
      ['GET', '/api/v1/namespaces/a/pods?fieldSelector=status.phase%3DRunning,metadata.name%3Dp', 'list  pods  a p'],
      ['DELETE', '/apis/apps/v1/namespaces/a/deployments', 'deletecollection apps deployments  a '],
      ['PATCH', '/apis/apps/v1/namespaces/a/deployments/d/scale', 'patch apps deployments scale a d'],
      ['GET', '/api/v1/namespaces/a/pods/p/exec?command=ls', 'exec  pods exec a p'],
      ['POST', '/api/v1/namespaces/a/pods/p/attach', 'attach  pods attach a p'],
      ['GET', '/api/v1/namespaces/a/pods/p/portforward', 'portforward  pods portforward a p'],
      ['PATCH', '/api/v1/namespaces/a/pods/p/ephemeralcontainers', 'debug  pods ephemeralcontainers a p'],
      ['GET', '/api/v1/namespaces/a/services/s:80/proxy/x/y', 'proxy  services proxy a s:80'],
      ['GET', '/healthz', 'get     '],
      ['GET', '/apis/apps/v1', 'get     '],
    ]
    for (const [method, url, what] of expected) assert.equal(short(method, url), what, url)
  })

  test('a task in front of the path is the claim, and no part of the path', () => {
    assert.deepEqual(apiPath('/tasks/FIX%201/api/v1/pods?limit=1'), {
      path: '/api/v1/pods',
      query: new URLSearchParams('limit=1'),
      search: '?limit=1',
      task: 'FIX 1',
    })
  })

  test('paths that could be read in two ways are refused', () => {
    for (const url of [
      '//api',
      '/api//v1',
      '/api/%2E%2e/x',
      '/api/v1/a%2Fb',
      '/api/v1/%70ods',
      '/a\\b',
      '/a%5cb',
      '/api/v1/pods%',
      '*',
      'http://a/b',
      '/a?dryRun=All&dryRun=',
      '/a?watch=1;x',
      '/a?b=%zz',
      '/ä',
    ])
      assert.ok('refused' in apiPath(url), url)
    for (const url of ['/api/v1/namespaces/a/services/https:s:443/proxy/', '/api/v1/namespaces/a/rolebindings/system%3Ax', '/apis/x/v1/y/a%20b'])
      assert.ok('path' in apiPath(url), url)
  })

  test("the recorder's own objects are out of reach, by name, by list, and through a kubelet", () => {
    const denied = (method: string, url: string) => {
      const path = apiPath(url)
      return 'path' in path && builtInDeny(requestInfo(method, path.path, path.query), path.query, false) !== undefined
    }
    for (const [method, url] of [
      ['PATCH', '/apis/agentaccess.dev/v1alpha1/namespaces/a/agentaccesses/x'],
      ['GET', '/api/v1/namespaces/a/secrets/agentaccess-proxy'],
      ['GET', '/api/v1/namespaces/a/secrets'],
      ['GET', '/api/v1/secrets?watch=1'],
      ['GET', '/api/v1/namespaces/a/secrets?labelSelector=a%3Db'],
      ['GET', '/api/v1/namespaces/a/secrets?labelSelector=a+notin+(b,app.kubernetes.io/managed-by%21%3Dagentaccess-operator)'],
      ['DELETE', '/api/v1/namespaces/a/secrets'],
      ['DELETE', '/api/v1/namespaces/a/pods'],
      ['DELETE', '/api/v1/namespaces/a/pods/agentaccess-proxy-0'],
      ['PATCH', '/apis/apps/v1/namespaces/a/statefulsets/agentaccess-proxy'],
      ['POST', '/api/v1/namespaces/a/pods/agentaccess-proxy-0/exec'],
      ['PATCH', '/apis/apps/v1/namespaces/a/statefulsets/agentaccess-proxy/scale'],
      ['POST', '/api/v1/namespaces/a/pods/agentaccess-proxy-0/eviction'],
      ['PUT', '/api/v1/namespaces/a/endpoints/orders-agentaccess'],
      ['PATCH', '/apis/discovery.k8s.io/v1/namespaces/a/endpointslices/orders-agentaccess-x7f2k'],
      ['DELETE', '/apis/apiextensions.k8s.io/v1/customresourcedefinitions/agentaccesses.agentaccess.dev'],
      ['GET', '/api/v1/namespaces/a/pods/agentaccess-proxy-0/exec'],
      ['GET', '/api/v1/namespaces/a/pods/https:agentaccess-proxy-0:8443/proxy/state'],
      ['GET', '/api/v1/namespaces/a/services/orders-agentaccess:5432/proxy/'],
      ['POST', '/api/v1/namespaces/a/serviceaccounts/agentaccess-proxy/token'],
      ['GET', '/api/v1/nodes/n/proxy/run/a/p/c'],
    ] as const)
      assert.ok(denied(method, url), url)
    for (const [method, url] of [
      ['GET', '/apis/agentaccess.dev/v1alpha1/agentaccesses'],
      ['GET', '/api/v1/namespaces/a/secrets/own'],
      ['GET', '/api/v1/namespaces/a/secrets?labelSelector=app.kubernetes.io%2Fmanaged-by%21%3Dagentaccess-operator'],
      ['GET', '/api/v1/namespaces/a/pods/web-0/exec'],
      ['GET', '/api/v1/namespaces/a/pods/agentaccess-proxy-0/log'],
      ['DELETE', '/api/v1/namespaces/a/pods?labelSelector=app%3Dx,app.kubernetes.io/managed-by%21%3Dagentaccess-operator'],
      ['GET', '/api/v1/nodes/n/proxy/metrics'],
      ['GET', '/apis/discovery.k8s.io/v1/namespaces/a/endpointslices/orders-agentaccess-x7f2k'],
      ['PATCH', '/apis/discovery.k8s.io/v1/namespaces/a/endpointslices/web-x7f2k'],
    ] as const)
      assert.ok(!denied(method, url), url)
  })

  test('a body that Go would merge and JavaScript would not is no body', () => {
    for (const text of ['{"a":1,"a":2}', '{"x":{"a":1,"\\u0061":2}}', '[{"a":[{"b":1,"b":1}]}]', '{"a":{"b":1},"a":{"c":1}}'])
      assert.throws(() => parseStrictJson(Buffer.from(text)), /twice/)
    for (const text of ['{"a":{"a":"a"},"b":["a","a"],"c":"\\"a\\":"}', '[]', '{"a":"\\\\","b":"\\\\"}'])
      assert.deepEqual(parseStrictJson(Buffer.from(text)), JSON.parse(text))
    assert.throws(() => parseStrictJson(Buffer.from([0x22, 0xff, 0x22])), /UTF-8/)
  })

  test('bodies: YAML as JSON, values of Secrets left out, tokens too', () => {
    const recorded = (method: string, url: string, type: string, body: string) =>
      String(readBody(Buffer.from(body), type, about(method, url), true).attributes['agentaccess.request.body'])
    const yaml =
      'apiVersion: v1\nkind: Secret\nmetadata: {name: s, annotations: {kubectl.kubernetes.io/last-applied-configuration: hidden}}\nstringData: {key: hidden}\n'
    const secret = recorded('PATCH', '/api/v1/namespaces/a/secrets/s', 'application/apply-patch+yaml', yaml)
    assert.ok(!secret.includes('hidden') && secret.includes('"key":"[REDACTED]"'), secret)
    assert.ok(!recorded('POST', '/apis/authentication.k8s.io/v1/tokenreviews', 'application/json', '{"spec":{"token":"hidden"}}').includes('hidden'))
    assert.ok(
      !recorded('POST', '/apis/x/v1/bundles', 'application/json', '{"items":[{"apiVersion":"v1","kind":"Secret","data":{"a":"hidden"}}]}').includes('hidden'),
    )
    const twice = readBody(Buffer.from('a: 1\na: 2\n'), 'application/yaml', about('POST', '/api/v1/namespaces/a/pods'), true)
    assert.match(twice.unreadable ?? '', /unique/)
    const read = (body: string, type = 'application/yaml') => readBody(Buffer.from(body), type, about('POST', '/api/v1/namespaces/a/pods'), true)
    // As Go's decoder merges it, the label is there.
    for (const text of ['metadata: {<<: {labels: {tier: prod}}}\n', 'replicas: 010\n', 'paused: yes\n']) assert.match(read(text).unreadable ?? '', /1\.1/, text)
    assert.equal(read('metadata: {name: a, labels: {tier: prod}}\n').labels.tier, 'prod')
    assert.ok(read('{"spec":{"volumes":[{"secret":{"secretName":"agentaccess-\\u0070roxy"}}]}}', 'application/json').namesRecorder)
    assert.ok(read('k8s\0\n\0\u0012\u0013agentaccess-access-x').namesRecorder)
    const slice = (body: string) =>
      readBody(Buffer.from(body), 'application/json', about('POST', '/apis/discovery.k8s.io/v1/namespaces/a/endpointslices'), true)
    assert.ok(slice('{"metadata":{"labels":{"kubernetes.io/service-name":"orders-agentaccess"}}}').namesRecorder)
    assert.ok(slice('[{"op":"add","path":"/metadata/labels/kubernetes.io~1service-name","value":"orders-agentaccess"}]').namesRecorder)
    assert.ok(slice('k8s\0\n\0\u0012\u0012orders-agentaccess').namesRecorder)
    assert.ok(!slice('{"metadata":{"labels":{"kubernetes.io/service-name":"web"}}}').namesRecorder)
    assert.ok(!read('{"spec":{"volumes":[{"configMap":{"name":"agentaccess-ca"}}]}}', 'application/json').namesRecorder)
  })

  test('items of a list are counted wherever its bytes are cut', () => {
    const list = Buffer.from(
      JSON.stringify({ kind: 'PodList', metadata: { items: [1, 2] }, items: [{ a: [{}], b: '"]}{\\' }, { items: [{}, {}] }, {}], rows: 'items' }),
    )
    for (let at = 0; at <= list.length; at++) {
      const reader = new ResponseReader(200, 'application/json', true)
      reader.add(list.subarray(0, at))
      reader.add(list.subarray(at))
      assert.deepEqual(reader.said(), { items: 3 })
    }
    const none = new ResponseReader(200, 'application/json', true)
    none.add(Buffer.from('{"kind":"APIResourceList","resources":[{}]}'))
    assert.deepEqual(none.said(), {})
  })
})
