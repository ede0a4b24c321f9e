export async function generateCrdTypes(banner: (s: string) => string): Promise<string> { return banner('x') }
