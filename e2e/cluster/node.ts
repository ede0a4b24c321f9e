// The cluster's only node, as what runs beside the cluster sees it: all of that shares the node's network.

export const NODE = { name: 'node1', address: process.env.CLUSTER_NODE_ADDRESS ?? '10.10.10.10' }

/** A folder with the same path here and on the node. */
export const VOLUMES = process.env.CLUSTER_VOLUMES ?? '/run/volumes'
